use strongroom_qemu_img::Image;
use strongroom_secret::SecretFile;

fn describe(key: &SecretFile) {
    let _ = Image::raw("/d/a", key);
}

fn main() {}
