use strongroom_qemu_img::{Encrypted, Image, Layout, NewImage, Qcow2Options};

fn overlay(base: Image<'_, Encrypted>) {
    let lower = Image::qcow2("/d/lower").backed_by(base);
    let _ = NewImage::new("/d/upper", Layout::qcow2(Qcow2Options::new())).backed_by(&lower);
}

fn main() {}
