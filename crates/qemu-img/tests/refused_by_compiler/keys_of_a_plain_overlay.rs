use strongroom_qemu_img::{Amend, Encrypted, Image};

fn remove(base: Image<'_, Encrypted>) {
    let overlay = Image::qcow2("/d/overlay").backed_by(base);
    let _ = Amend::remove_slot(&overlay, 1);
}

fn main() {}
