//! Sealed passphrases, key-encryption keys and reference counting
