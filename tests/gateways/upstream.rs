//! Upstream API that answers with what it received, byte for byte: request target, header lines and trailers.

use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::support::http::Answer;

/// Part of a request: header lines or trailers, each a name and a value.
type Lines = Vec<(String, String)>;

/// Starts the upstream and returns its address.
pub async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // A runtime of its own: that of a test ends with the test.
    let listener = listener.into_std().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let (read, mut write) = stream.split();
    let Some(received) = receive(&mut BufReader::new(read)).await else { return };
    let body = if received["method"] == "HEAD" { String::new() } else { received.to_string() };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let _ = write.write_all(answer.as_bytes()).await;
}

/// Returns the request, or `None` if the connection ends before the request does.
async fn receive(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<Value> {
    let request_line = line(stream).await?;
    let (method, rest) = request_line.split_once(' ')?;
    let target = rest.rsplit_once(' ')?.0;
    let headers = lines(stream).await?;
    let value = |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let trailers = if value("transfer-encoding").is_some() {
        chunks(stream).await?
    } else {
        let length = value("content-length").map_or(Some(0), |length| length.parse().ok())?;
        stream.read_exact(&mut vec![0; length]).await.ok()?;
        Lines::new()
    };
    Some(json!({"method": method, "target": target, "headers": headers, "trailers": trailers}))
}

/// Skips a chunked body and returns its trailers.
async fn chunks(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<Lines> {
    loop {
        let size = line(stream).await?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return lines(stream).await;
        }
        stream.read_exact(&mut vec![0; size + 2]).await.ok()?;
    }
}

async fn lines(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<Lines> {
    let mut all = Lines::new();
    loop {
        let line = line(stream).await?;
        if line.is_empty() {
            return Some(all);
        }
        let (name, value) = line.split_once(':')?;
        all.push((name.to_owned(), value.trim().to_owned()));
    }
}

async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await.ok()?;
    let line = line.strip_suffix(b"\r\n")?;
    Some(String::from_utf8_lossy(line).into_owned())
}

/// What the upstream received.
pub struct Received(Value);

impl Received {
    /// Returns the request that the upstream received, or `None` if the gateway refused.
    pub fn of(answer: &Answer) -> Option<Self> {
        let received = serde_json::from_str::<Value>(&answer.body).ok()?;
        received.get("target").is_some().then_some(Self(received))
    }

    /// Method and request target as they were written.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap()
    }

    /// Lines of `headers` or `trailers`.
    pub fn lines(&self, part: &str) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.0[part].as_array().unwrap().iter();
        lines.map(|line| (line[0].as_str().unwrap(), line[1].as_str().unwrap()))
    }
}
