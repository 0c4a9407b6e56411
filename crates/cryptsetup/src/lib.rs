//! Typed cryptsetup: LUKS format, keyslots, header backup and erase
