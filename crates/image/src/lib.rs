//! Bounded readers of LUKS1, LUKS2 and qcow2 headers.
