//! An endpoint on this machine, carried out with the real tools
