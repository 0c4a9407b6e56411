//! What a storage driver author implements
