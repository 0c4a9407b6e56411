//! Both drivers against the real service, with a host that has the real tools.
#![cfg(test)]

mod answers;
mod ciphertext;
mod life;
mod site;
