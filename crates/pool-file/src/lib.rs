//! A storage pool of files in a directory
