//! Runs the storage service until standard input ends: `strongroom-http-storage DIRECTORY [ADDRESS]`.

#![expect(clippy::print_stdout, reason = "a program says where it listens")]

use std::error::Error;
use std::path::PathBuf;

use strongroom_http_storage::Service;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments.next().map(PathBuf::from);
    let directory = directory
        .ok_or("say in which directory the volumes are: strongroom-http-storage DIRECTORY [ADDRESS]")?;
    let address = arguments
        .next()
        .map_or_else(|| "127.0.0.1:0".into(), |a| a.to_string_lossy().into_owned());
    let service = Service::start(&directory, address.parse()?)?;
    println!("http://{}/v1/ serves {}", service.address(), directory.display());
    println!(
        "exported volumes appear in {}; end of input ends it",
        service.exports().display()
    );
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}
