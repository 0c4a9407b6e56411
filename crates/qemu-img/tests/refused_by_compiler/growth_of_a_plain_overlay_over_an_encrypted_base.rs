use strongroom_qemu_img::{Encrypted, Image, Resize};
use strongroom_types::GuestSize;

fn grow(base: Image<'_, Encrypted>, size: GuestSize) {
    let overlay = Image::qcow2("/d/overlay").backed_by(base);
    let _ = Resize::grow(&overlay, size);
    let _ = Resize::cut(&overlay, size);
}

fn main() {}
