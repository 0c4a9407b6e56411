use strongroom_qemu_img::{Convert, Encrypted, Image};

fn copy(base: Image<'_, Encrypted>) {
    let overlay = Image::qcow2("/d/overlay").backed_by(base);
    let _ = Convert::new(&overlay, Image::raw("/d/to"));
}

fn main() {}
