use strongroom_qemu_img::{Convert, Encrypted, Image, Plain};

fn copy(encrypted: &Image<'_, Encrypted>, plain: &Image<'_, Plain>, base: Image<'_, Encrypted>) {
    let overlay = Image::qcow2("/d/overlay").backed_by(base);
    let _ = Convert::new(encrypted, &overlay);
    let _ = Convert::new(plain, &overlay);
}

fn main() {}
