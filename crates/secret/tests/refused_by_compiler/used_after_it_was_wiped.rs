use strongroom_secret::Passphrase;

fn text() -> &'static [u8] {
    let passphrase = Passphrase::generate().unwrap();
    passphrase.expose_secret()
}

fn main() {}
