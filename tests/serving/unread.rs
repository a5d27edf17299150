//! Requests with a body that nobody reads. The client gets its answer although it goes on to send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::certificates::{Authority, Files};
use super::wire::Dial;
use super::{stage, verifier};

/// Bytes of the body, more than the buffers of the kernel.
const BODY: usize = 1_000_000;

/// Sends the whole request, and only then reads. The status line and the code of the answer.
async fn send_first(dial: Dial, request: &[u8]) -> (String, String) {
    let mut stream = dial.stream().await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let code = answer.lines().find_map(|line| line.strip_prefix("x-keywright-code: ")).unwrap_or_default();
    (answer.lines().next().unwrap_or_default().to_owned(), code.to_owned())
}

async fn assert_answered(dial: Dial) {
    let good = stage().await.key.clone();
    let bad = format!("kw_000000000000_{}", &good[16..]);
    for (key, question, status, code) in [
        (&good, "scope=any", "HTTP/1.1 200 OK", "ok"),
        (&bad, "scope=any", "HTTP/1.1 401 Unauthorized", "malformed"),
        (&good, "scope=any&account=no/body", "HTTP/1.1 403 Forbidden", "wrong_account"),
    ] {
        let head = format!(
            "POST /auth?{question} HTTP/1.1\r\nHost: verifier\r\nX-API-Key: {key}\r\nContent-Length: {BODY}\r\n\r\n"
        );
        let request = [head.into_bytes(), vec![b'x'; BODY]].concat();
        for _ in 0..20 {
            let answer = send_first(dial.clone(), &request).await;
            assert_eq!((answer.0.as_str(), answer.1.as_str()), (status, code));
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_read_does_not_cost_the_answer() {
    let verifier = verifier(&[]).await;
    assert_answered(Dial::to(&verifier.address)).await;
}

#[tokio::test]
async fn a_body_that_is_not_read_does_not_cost_the_answer_over_tls() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue());
    let [certificate, key] = files.flags();
    let verifier = verifier(&[&certificate, &key]).await;
    let tls = Some(authority.client(None, &["http/1.1"]));
    assert_answered(Dial { address: verifier.address.clone(), tls }).await;
}

#[tokio::test]
async fn a_connection_too_many_is_answered_although_its_body_is_not_read() {
    let verifier = verifier(&["--max-connections=1", "--peer-share=100"]).await;
    let held = Dial::to(&verifier.address).stream().await.unwrap();
    let head = format!("POST /auth?scope=any HTTP/1.1\r\nHost: verifier\r\nContent-Length: {BODY}\r\n\r\n");
    let request = [head.into_bytes(), vec![b'x'; BODY]].concat();
    for _ in 0..20 {
        let answer = send_first(Dial::to(&verifier.address), &request).await;
        assert_eq!((answer.0.as_str(), answer.1.as_str()), ("HTTP/1.1 503 Service Unavailable", "not_ready"));
    }
    drop(held);
}
