//! Pure host filters that explain every rejection
