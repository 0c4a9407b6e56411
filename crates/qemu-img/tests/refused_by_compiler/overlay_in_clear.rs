use strongroom_qemu_img::{Encrypted, Image, Layout, NewImage, Qcow2Options};

fn overlay(base: &Image<'_, Encrypted>) {
    let _ = NewImage::new("/d/o", Layout::qcow2(Qcow2Options::new())).backed_by(base);
}

fn main() {}
