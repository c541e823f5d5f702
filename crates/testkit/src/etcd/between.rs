//! What stands between the nodes of a cluster: it carries what they say to each other, until one of them is cut off. Clients still reach that one.

use std::io::{Read, Write, copy};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Longest head of a request that is read to find out who sends it.
const MOST_HEAD: usize = 16 * 1024;

/// Relays, one before each node.
#[derive(Debug)]
pub(super) struct Between {
    shared: Arc<Mutex<Shared>>,
    ports: Vec<u16>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The node that is cut off, and what the others know it as.
    cut: Option<(usize, String)>,
    is_over: bool,
    links: Vec<Link>,
}

/// A connection from one node to another.
#[derive(Debug)]
struct Link {
    to: usize,
    from: Option<String>,
    ends: [TcpStream; 2],
}

impl Shared {
    fn is_cut(&self, to: usize, from: Option<&str>) -> bool {
        self.cut.as_ref().is_some_and(|(node, id)| *node == to || from == Some(id))
    }
}

impl Between {
    /// Before nodes that listen to each other on these ports.
    pub(super) fn new(peers: &[u16]) -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let relay = |(node, peer): (usize, &u16)| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let (port, shared, peer) = (listener.local_addr().expect("it has one").port(), Arc::clone(&shared), *peer);
            thread::spawn(move || accept(&listener, node, peer, &shared));
            port
        };
        let ports = peers.iter().enumerate().map(relay).collect();
        Self { shared, ports }
    }

    /// Where a node is to be reached by the others.
    pub(super) fn port(&self, node: usize) -> u16 {
        self.ports[node]
    }

    /// Nothing gets to this node from now on, nor away from it to another. `id`: what etcd calls it.
    pub(super) fn cut(&self, node: usize, id: String) {
        let mut shared = locked(&self.shared);
        shared.cut = Some((node, id));
        let (cut, left) = std::mem::take(&mut shared.links)
            .into_iter()
            .partition(|link| shared.is_cut(link.to, link.from.as_deref()));
        shared.links = left;
        let cut: Vec<Link> = cut;
        cut.iter().flat_map(|link| &link.ends).for_each(end);
    }

    /// All reach each other again.
    pub(super) fn join(&self) {
        locked(&self.shared).cut = None;
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        locked(&self.shared).is_over = true;
        for port in &self.ports {
            // Whoever waits for a connection gets this one.
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, *port));
        }
        locked(&self.shared).links.iter().flat_map(|link| &link.ends).for_each(end);
    }
}

fn accept(listener: &TcpListener, to: usize, peer: u16, shared: &Arc<Mutex<Shared>>) {
    for client in listener.incoming() {
        if locked(shared).is_over {
            break;
        }
        let (Ok(client), shared) = (client, Arc::clone(shared)) else { continue };
        thread::spawn(move || relay(client, to, peer, &shared));
    }
}

/// `None`: one of the ends is gone.
fn relay(mut client: TcpStream, to: usize, peer: u16, shared: &Mutex<Shared>) -> Option<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let read = client.read(&mut piece).ok().filter(|read| *read > 0 && head.len() < MOST_HEAD)?;
        head.extend_from_slice(&piece[..read]);
    }
    let text = String::from_utf8_lossy(&head);
    let from = text.lines().find_map(|line| line.strip_prefix("X-Server-From: ")).map(str::to_owned);
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, peer)).ok()?;
    {
        let mut shared = locked(shared);
        if shared.is_over || shared.is_cut(to, from.as_deref()) {
            return None;
        }
        let ends = [client.try_clone().ok()?, server.try_clone().ok()?];
        shared.links.push(Link { to, from, ends });
    }
    server.write_all(&head).ok()?;
    let (mut back_from, mut back_to) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let back = thread::spawn(move || {
        // Either end may go at any time.
        let _ = copy(&mut back_from, &mut back_to);
        end(&back_to);
    });
    let _ = copy(&mut client, &mut server);
    end(&server);
    back.join().ok()
}

fn end(stream: &TcpStream) {
    // It may have ended already.
    let _ = stream.shutdown(Shutdown::Both);
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
