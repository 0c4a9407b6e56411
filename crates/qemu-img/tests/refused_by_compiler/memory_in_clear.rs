use strongroom_qemu_img::{Encrypted, Image, Memory, Store};

fn main() {
    let memory: Memory<Encrypted> = Memory::zeros(512).unwrap();
    let plain = Image::raw("/tmp/plain");
    let _ = Store::new(&memory, &plain, 0);
}
