//! Requests that two servers might cut at different places. Whoever stands before us may have seen one request only: here
//! it must be one as well, or none.

use super::wire::{Heard, plain};
use super::{question, stage, verifier};

/// What would pass if it were taken for a request of its own.
async fn hidden() -> String {
    String::from_utf8(question("").await).unwrap()
}

/// Sends these bytes, and after the first answer a last question that cannot be confused: all answers but that to the last.
async fn answers(address: &str, bytes: &str) -> Vec<Heard> {
    let mut connection = plain(address).await;
    let _ = connection.send(bytes.as_bytes()).await;
    let mut all = Vec::new();
    all.extend(connection.answer().await.unwrap());
    // It says where the answers end, unless the server has closed already.
    let _ = connection.send(b"GET /the-last HTTP/1.1\r\nHost: v\r\nConnection: close\r\n\r\n").await;
    while let Some(heard) = connection.answer().await.unwrap() {
        all.push(heard);
    }
    let _ = all.pop_if(|last| last.answer.status == 404);
    all
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /v1/verify HTTP/1.1\r\nHost: v\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn what_is_hidden_in_a_body_of_doubtful_length_is_never_a_request_of_its_own() {
    let verifier = verifier(&[]).await;
    let hidden = hidden().await;
    let all = hidden.len();
    // Ends at once for who believes in chunks, and goes on for who believes in the length.
    let zero = format!("0\r\n\r\n{hidden}");
    let longer = zero.len();
    // The other way round: the length ends before the chunk does.
    let chunk = format!("{all:x}\r\n{hidden}\r\n0\r\n\r\n");
    let before = format!("{all:x}\r\n").len();
    for (what, headers, body) in [
        ("a length and chunks", format!("Content-Length: {longer}\r\nTransfer-Encoding: chunked\r\n"), &zero),
        ("chunks and a length", format!("Transfer-Encoding: chunked\r\nContent-Length: {longer}\r\n"), &zero),
        ("a short length and chunks", format!("Content-Length: {before}\r\nTransfer-Encoding: chunked\r\n"), &chunk),
        ("chunks and a short length", format!("Transfer-Encoding: chunked\r\nContent-Length: {before}\r\n"), &chunk),
        ("no length at all and chunks", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned(), &zero),
        ("two lengths, the longer first", format!("Content-Length: {all}\r\nContent-Length: 0\r\n"), &hidden),
        ("two lengths, the shorter first", format!("Content-Length: 0\r\nContent-Length: {all}\r\n"), &hidden),
        ("two lengths in a list", format!("Content-Length: 0, {all}\r\n"), &hidden),
        ("the same length twice", format!("Content-Length: {all}\r\nContent-Length: {all}\r\n"), &hidden),
        ("a length with a sign", format!("Content-Length: +{all}\r\n"), &hidden),
        ("a negative length", "Content-Length: -1\r\n".to_owned(), &hidden),
        ("a length in hexadecimal", format!("Content-Length: 0x{all:x}\r\n"), &hidden),
        ("a length of nothing", "Content-Length:\r\n".to_owned(), &hidden),
        ("a length beyond all numbers", "Content-Length: 18446744073709551617\r\n".to_owned(), &hidden),
        ("a space before the colon", format!("Content-Length : {all}\r\n"), &hidden),
        ("an encoding nobody knows", "Transfer-Encoding: xchunked\r\n".to_owned(), &zero),
        ("chunks and then identity", "Transfer-Encoding: chunked, identity\r\n".to_owned(), &zero),
        ("identity", format!("Transfer-Encoding: identity\r\nContent-Length: {all}\r\n"), &hidden),
        ("an encoding after a space", format!("Transfer-Encoding : chunked\r\nContent-Length: {longer}\r\n"), &zero),
        ("a folded encoding", format!("Transfer-Encoding:\r\n chunked\r\nContent-Length: {longer}\r\n"), &zero),
        ("a folded length", format!("Content-Length:\r\n {all}\r\n"), &hidden),
        ("a folded header", format!("X-A: a\r\n Content-Length: 0\r\nContent-Length: {all}\r\n"), &hidden),
        ("a NUL in a header", format!("X-A: \0\r\nContent-Length: {all}\r\n"), &hidden),
        ("a bare CR in a header", format!("X-A: a\rContent-Length: 0\r\nContent-Length: {all}\r\n"), &hidden),
    ] {
        let heard = answers(&verifier.address, &post(&headers, body)).await;
        assert!(heard.len() <= 1, "{what}: {heard:?}");
        assert!(heard.iter().all(|heard| !heard.is_ok()), "{what}: {heard:?}");
    }
    plain(&verifier.address).await.assert_passes().await;
}

#[tokio::test]
async fn chunks_that_are_not_written_as_they_must_be_end_the_connection() {
    let verifier = verifier(&[]).await;
    let hidden = hidden().await;
    for (what, body) in [
        ("a size beyond all numbers", format!("10000000000000000\r\n{hidden}")),
        ("a negative size", format!("-1\r\n{hidden}")),
        ("a size with 0x", format!("0x0\r\n\r\n{hidden}")),
        ("no size", format!("\r\n\r\n{hidden}")),
        ("data longer than its size", format!("1\r\nab\r\n0\r\n\r\n{hidden}")),
        ("a size that ends in LF", format!("0\n\r\n{hidden}")),
        ("an extension that ends in LF", format!("0;a\n\r\n{hidden}")),
        ("a CR alone after the size", format!("0\r\r\n{hidden}")),
    ] {
        let heard = answers(&verifier.address, &post("Transfer-Encoding: chunked\r\n", &body)).await;
        assert!(heard.len() <= 1 && heard.iter().all(|heard| !heard.is_ok()), "{what}: {heard:?}");
    }
    // As they must be, they are read to their end and no further.
    let key = &stage().await.key;
    let json = format!(r#"{{"key": "{key}"}}"#);
    let body = format!("1\r\n{{\r\n{:x}\r\n{}\r\n0\r\n\r\n", json.len() - 1, &json[1..]);
    let heard = answers(&verifier.address, &post("Transfer-Encoding: chunked\r\n", &body)).await;
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0].answer.json()["valid"], true);
}

#[tokio::test]
async fn lines_that_end_in_a_bare_lf_are_refused_or_read_as_the_one_request_they_are() {
    let verifier = verifier(&[]).await;
    let key = &stage().await.key;
    for text in [
        format!("GET /auth?scope=any HTTP/1.1\nHost: v\nX-API-Key: {key}\n\n"),
        format!("GET /auth?scope=any HTTP/1.1\r\nHost: v\nX-API-Key: {key}\r\n\r\n"),
        format!("GET /auth?scope=any HTTP/1.1\r\nHost: v\r\nX-API-Key: {key}\n\r\n"),
    ] {
        let heard = answers(&verifier.address, &text).await;
        assert_eq!(heard.len(), 1, "{text:?}: {heard:?}");
        assert!(heard[0].is_ok() || heard[0].answer.status == 400, "{text:?}: {heard:?}");
    }
}

#[tokio::test]
async fn heads_that_are_no_heads_are_refused() {
    let verifier = verifier(&[]).await;
    let key = &stage().await.key;
    for (what, text) in [
        ("no version", format!("GET /auth?scope=any\r\nHost: v\r\nX-API-Key: {key}\r\n\r\n")),
        ("HTTP/0.9", "GET /auth?scope=any HTTP/0.9\r\n\r\n".to_owned()),
        ("HTTP/3.0", format!("GET /auth?scope=any HTTP/3.0\r\nX-API-Key: {key}\r\n\r\n")),
        ("a folded key", format!("GET /auth?scope=any HTTP/1.1\r\nHost: v\r\nX-API-Key:\r\n {key}\r\n\r\n")),
        ("a name with a space", format!("GET /auth?scope=any HTTP/1.1\r\nHost: v\r\nX-API-Key : {key}\r\n\r\n")),
        ("a line without a colon", format!("GET /auth?scope=any HTTP/1.1\r\nHost\r\nX-API-Key: {key}\r\n\r\n")),
        ("NUL", format!("GET /auth?scope=any HTTP/1.1\r\nX-A: \0\r\nX-API-Key: {key}\r\n\r\n")),
        (
            "chunks in HTTP/1.0",
            format!("GET /auth?scope=any HTTP/1.0\r\nTransfer-Encoding: chunked\r\nX-API-Key: {key}\r\n\r\n0\r\n\r\n"),
        ),
        ("two spaces", format!("GET  /auth?scope=any  HTTP/1.1\r\nX-API-Key: {key}\r\n\r\n")),
    ] {
        let heard = answers(&verifier.address, &text).await;
        assert!(heard.len() <= 1, "{what}: {heard:?}");
        assert!(heard.iter().all(|heard| heard.answer.status == 400), "{what}: {heard:?}");
        assert!(!format!("{heard:?}").contains(key.as_str()), "{what}: quoted in {heard:?}");
    }
}
