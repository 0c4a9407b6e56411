use strongroom_secret::Passphrase;

fn copy(passphrase: &Passphrase) -> Passphrase {
    passphrase.clone()
}

fn main() {}
