use strongroom_qemu_img::Image;
use strongroom_secret::SecretFile;

fn describe(key: &SecretFile) {
    let _ = Image::luks("/d/a", key).by_flags();
}

fn main() {}
