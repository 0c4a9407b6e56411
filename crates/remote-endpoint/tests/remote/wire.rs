use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A wire between two sides that can be cut.
pub(crate) struct Wire {
    pub(crate) address: String,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    pub(crate) connections: Arc<AtomicUsize>,
    /// Nothing comes back from the agent while this is set.
    pub(crate) deaf: Arc<AtomicBool>,
    /// By so many connections, the first ones, nothing comes to the agent any more.
    pub(crate) mute: Arc<AtomicUsize>,
    /// How often something came back.
    pub(crate) heard: Arc<AtomicUsize>,
}

impl Wire {
    pub(crate) fn to(agent: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Self {
            address: listener.local_addr().unwrap().to_string(),
            sockets: Arc::default(),
            connections: Arc::default(),
            deaf: Arc::default(),
            mute: Arc::default(),
            heard: Arc::default(),
        };
        let (sockets, connections) = (wire.sockets.clone(), wire.connections.clone());
        let (deaf, mute, heard) = (wire.deaf.clone(), wire.mute.clone(), wire.heard.clone());
        let agent = agent.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&agent).unwrap());
                let number = connections.fetch_add(1, Ordering::SeqCst);
                for (mut from, mut to, is_answer) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap(), false),
                    (server.try_clone().unwrap(), client.try_clone().unwrap(), true),
                ] {
                    let (deaf, mute, heard) = (deaf.clone(), mute.clone(), heard.clone());
                    std::thread::spawn(move || {
                        let mut buffer = [0; 4096];
                        while let Ok(n @ 1..) = from.read(&mut buffer) {
                            let is_lost = if is_answer {
                                heard.fetch_add(1, Ordering::SeqCst);
                                deaf.load(Ordering::SeqCst)
                            } else {
                                number < mute.load(Ordering::SeqCst)
                            };
                            if !is_lost && to.write_all(&buffer[..n]).is_err() {
                                break;
                            }
                        }
                        drop(to.shutdown(Shutdown::Both));
                    });
                }
                sockets.lock().unwrap().extend([client, server]);
            }
        });
        wire
    }

    pub(crate) fn cut(&self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}
