use strongroom_qemu_img::{Convert, Encrypted, Image, Layout, NewImage};

fn copy(source: &Image<'_, Encrypted>) {
    let _ = Convert::new(source, NewImage::new("/d/to", Layout::raw()));
    let _ = Convert::new(source, Image::qcow2("/d/to"));
}

fn main() {}
