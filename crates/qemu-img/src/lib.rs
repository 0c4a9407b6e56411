//! Typed qemu-img: images, secrets and progress without argv accidents
