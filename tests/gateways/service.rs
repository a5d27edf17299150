//! One address before several verifiers, as a Service of Kubernetes is: each connection goes to one that is ready, and stays there.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};

use super::support::http;

pub struct Service {
    pub address: String,
    backends: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// Leads nowhere yet.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let backends = Arc::new(Mutex::new(Vec::new()));
        let known = backends.clone();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let backends = known.lock().unwrap().clone();
                // In turn.
                known.lock().unwrap().rotate_left(usize::from(!backends.is_empty()));
                tokio::spawn(pass_on(from, backends));
            }
        });
        Self { address, backends }
    }

    pub fn leads_to(&self, backends: Vec<String>) {
        *self.backends.lock().unwrap() = backends;
    }
}

async fn pass_on(mut from: TcpStream, backends: Vec<String>) {
    for backend in backends {
        if http::get(&backend, "/readyz", &[]).await.is_ok_and(|answer| answer.status == 200) {
            if let Ok(mut to) = TcpStream::connect(&backend).await {
                // However it ends, both ends see it.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
            return;
        }
    }
}
