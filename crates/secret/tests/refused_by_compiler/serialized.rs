use strongroom_secret::{Passphrase, SecretFile};

fn serialized(_: &impl serde::Serialize) {}

fn all(passphrase: &Passphrase, file: &SecretFile) {
    serialized(passphrase);
    serialized(file);
}

fn main() {}
