use strongroom_exec::{CommandSpec, Program};
use strongroom_qemu_img::{Command, Image, Map, Refusal};
use strongroom_secret::{Passphrase, SecretFile};

fn command(program: &Program, passphrase: &Passphrase) -> Result<CommandSpec<'static>, Refusal> {
    let key = SecretFile::new(passphrase).unwrap();
    Map::of(&Image::luks("/d/a", &key)).spec(program)
}

fn main() {}
