use strongroom_secret::Passphrase;

fn text(passphrase: Passphrase) -> Box<[u8]> {
    passphrase.text.to_vec().into()
}

fn main() {}
