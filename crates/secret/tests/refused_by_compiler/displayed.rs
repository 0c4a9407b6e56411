use strongroom_secret::{Passphrase, SecretFile};

fn show(passphrase: &Passphrase, file: &SecretFile) -> String {
    format!("{passphrase} {file}")
}

fn main() {}
