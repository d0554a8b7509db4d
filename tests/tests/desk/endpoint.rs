//! The endpoint over real sockets, before a desk that says what it is told to.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use tallystick_client::desk::{Conclusion, http};
use tallystick_tests::{
    fake_desk::{SLOWNESS, Served, number, passport},
    http1::{self, Answer},
};

/// Sends a request as a program of this machine does that has the token.
fn ask(served: &Served, line: &str, body: Option<&str>) -> Answer {
    let host = format!("Host: {}", served.address);
    let token = format!("Authorization: Bearer {}", served.token);
    let mut headers = vec![host.as_str(), &token];
    if body.is_some() {
        headers.push("Content-Type: application/json");
    }
    http1::request(served.address, line, &headers, body)
}

fn zone(conclusion: Conclusion) -> String {
    let [one, two] = passport(&number(conclusion, false));
    format!("{{\"id\":\"7\",\"mrz\":[\"{one}\",\"{two}\"]}}")
}

#[test]
fn a_document_gets_its_verdict() {
    let served = Served::new();
    for conclusion in [Conclusion::Reported, Conclusion::Consistent] {
        let answer = ask(&served, "POST /v1/check", Some(&zone(conclusion)));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.starts_with("{\"schema\":\"tally.desk/1\""));
        let verdict = answer.json();
        assert_eq!(verdict["conclusion"], conclusion.name());
        assert_eq!(verdict["headline"], conclusion.headline());
        assert_eq!(verdict["id"], "7");
    }
    // Fields as well, and JSON over several lines.
    let fields = "\n{\n \"number\": \"N1234567\",\n \"state\": \"UTO\"\n}\n";
    let verdict = ask(&served, "POST /v1/check", Some(fields)).json();
    assert_eq!(verdict["conclusion"], "never-issued");
    let status = ask(&served, "GET /v1/status", None).json();
    assert_eq!(status["collections"][1]["state"], "waiting");
    assert_eq!(status["clear_after_seconds"], 60);
}

/// What cannot be read is answered by a verdict that says why, and nothing is asked; what cannot be a
/// question is refused. Neither says anything of what was sent.
#[test]
fn what_is_no_document_is_said_to_be_none_and_is_not_shown() {
    let served = Served::new();
    let canary = "ZQ7CANARY9";
    for (body, code) in [
        ("{\"mrz\":\"ZQ7CANARY9\"}".to_owned(), "mrz-shape"),
        (
            "{\"number\":5,\"surname\":\"ZQ7CANARY9\"}".to_owned(),
            "json",
        ),
        ("{\"nummer\":\"ZQ7CANARY9\"}".to_owned(), "json"),
        ("{\"number\":\"ZQ7CANARY9\"".to_owned(), "json"),
        ("{\"id\":\"ZQ7CANARY9\"}".to_owned(), "nothing-presented"),
        (
            "{\"kind\":\"ZQ7CANARY9\",\"number\":\"1\"}".to_owned(),
            "kind",
        ),
    ] {
        let answer = ask(&served, "POST /v1/check", Some(&body));
        assert_eq!(answer.status, 200, "{body}");
        let verdict = answer.json();
        assert_eq!(verdict["conclusion"], "unreadable", "{body}");
        let found = verdict["reasons"][0]["basis"]["code"].as_str().unwrap();
        assert!(
            found.contains(code) || code == "mrz-shape",
            "{body}: {found}"
        );
        assert!(!answer.body.contains(canary), "{}", answer.body);
    }
    let large = format!("{{\"mrz\":\"{}\"}}", "A".repeat(9000));
    for (body, status, code) in [
        ("ZQ7CANARY9", 400, "body"),
        ("[\"ZQ7CANARY9\"]", 400, "body"),
        ("", 400, "body"),
        (&large, 413, "size"),
    ] {
        let answer = ask(&served, "POST /v1/check", Some(body));
        assert_eq!(answer.status, status, "{body:.20}");
        assert_eq!(answer.json()["code"], code);
        assert!(!answer.body.contains(canary), "{}", answer.body);
    }
    // Not UTF-8.
    let head = format!(
        "POST /v1/check HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: \
         application/json\r\nConnection: close\r\nContent-Length: 4\r\n\r\n",
        served.address, served.token
    );
    let answer = http1::send(served.address, &[head.as_bytes(), b"{\xff\xfe}"].concat());
    assert_eq!((answer.status, served.desk.asked()), (400, 0));
}

#[test]
fn a_body_of_another_kind_is_refused() {
    let served = Served::new();
    let body = zone(Conclusion::Consistent);
    let host = format!("Host: {}", served.address);
    let token = format!("Authorization: Bearer {}", served.token);
    // What a form of another page can send without being asked first.
    for kind in [
        None,
        Some("Content-Type: text/plain"),
        Some("Content-Type: application/x-www-form-urlencoded"),
        Some("Content-Type: multipart/form-data; boundary=x"),
    ] {
        let mut headers = vec![host.as_str(), &token];
        headers.extend(kind);
        let answer = http1::request(served.address, "POST /v1/check", &headers, Some(&body));
        assert_eq!(answer.status, 415, "{kind:?}");
    }
    let headers = [
        &host,
        &token,
        "Content-Type: Application/JSON; charset=utf-8",
    ];
    let answer = http1::request(served.address, "POST /v1/check", &headers, Some(&body));
    assert_eq!((answer.status, served.desk.asked()), (200, 1));
}

#[test]
fn nobody_asks_without_the_token() {
    let served = Served::new();
    let host = format!("Host: {}", served.address);
    let (right, other) = (&served.token, "0".repeat(64));
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    let cases = [
        vec![],
        vec![bearer("")],
        vec![bearer(&other)],
        vec![bearer(&right[..63])],
        vec![bearer(&format!("{right}0"))],
        vec![bearer(&right.to_uppercase())],
        vec![format!("Authorization: Basic {right}")],
        vec![format!("Authorization: {right}")],
        vec![format!("Cookie: token={right}")],
        // Two of them: which one counts would be a matter of taste.
        vec![bearer(right), bearer(right)],
    ];
    for case in cases {
        for line in ["POST /v1/check", "GET /v1/status"] {
            let mut headers: Vec<&str> = vec![&host, "Content-Type: application/json"];
            headers.extend(case.iter().map(String::as_str));
            let body = zone(Conclusion::Consistent);
            let body = line.starts_with("POST").then_some(body.as_str());
            let answer = http1::request(served.address, line, &headers, body);
            // A token that is right in another case of letters is another token, unless it has digits only.
            let same = case.len() == 1 && case[0] == bearer(right);
            assert_eq!(answer.status == 401, !same, "{line} {case:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    let query = format!("GET /v1/status?token={right}");
    assert_eq!(
        http1::request(served.address, &query, &[&host], None).status,
        401
    );
    assert_eq!(served.desk.asked(), 0);
}

/// DNS rebinding: a name of somebody else's that leads to this machine.
#[test]
fn another_name_for_this_machine_is_refused() {
    let served = Served::new();
    let token = format!("Authorization: Bearer {}", served.token);
    let port = served.address.port();
    for host in [
        "desk.example.org".to_owned(),
        format!("desk.example.org:{port}"),
        "127.0.0.1".to_owned(),
        format!("127.0.0.1:{}", port ^ 1),
        format!("127.0.0.1.example.org:{port}"),
        format!("localhost.example.org:{port}"),
        format!("127.0.0.2:{port}"),
        String::new(),
    ] {
        for line in ["GET /", "GET /v1/status", "GET /v1/openapi.json"] {
            let headers = [&format!("Host: {host}"), token.as_str()];
            let answer = http1::request(served.address, line, &headers, None);
            assert_eq!(answer.status, 403, "{host} {line}");
            assert_eq!(answer.json()["code"], "host");
        }
    }
    let twice = [
        &format!("Host: 127.0.0.1:{port}"),
        &format!("Host: desk.example.org:{port}"),
        &token,
    ];
    let twice = twice.map(String::as_str);
    assert_ne!(
        http1::request(served.address, "GET /v1/status", &twice, None).status,
        200
    );
    assert_ne!(
        http1::request(served.address, "GET /v1/status", &[&token], None).status,
        200
    );
    let localhost = [&format!("Host: localhost:{port}"), token.as_str()];
    let answer = http1::request(served.address, "GET /v1/status", &localhost, None);
    assert_eq!(answer.status, 200);
}

#[test]
fn a_page_of_another_place_is_refused() {
    let served = Served::new();
    let address = served.address;
    let host = format!("Host: {address}");
    let token = format!("Authorization: Bearer {}", served.token);
    for header in [
        "Origin: null".to_owned(),
        "Origin: https://example.org".to_owned(),
        format!("Origin: https://{address}"),
        format!("Origin: http://localhost:{}", address.port()),
        format!("Origin: http://127.0.0.1:{}", address.port() ^ 1),
        "Sec-Fetch-Site: cross-site".to_owned(),
        // Another port of this machine.
        "Sec-Fetch-Site: same-site".to_owned(),
    ] {
        for line in ["GET /", "GET /v1/status"] {
            let answer = http1::request(address, line, &[&host, &token, &header], None);
            assert_eq!(answer.status, 403, "{header} {line}");
            assert_eq!(answer.json()["code"], "origin");
            // Nor may it read the refusal.
            let allow = answer.header("access-control-allow-origin");
            assert_eq!(allow, None, "{header}");
        }
    }
    let own = format!("Origin: http://{address}");
    for header in [
        own.as_str(),
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Site: same-origin",
    ] {
        let answer = http1::request(address, "GET /v1/status", &[&host, &token, header], None);
        assert_eq!(answer.status, 200, "{header}");
    }
    // Whoever asks first whether he may is not told that he may.
    let first = [
        &host,
        "Origin: https://example.org",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization,content-type",
    ];
    let answer = http1::request(address, "OPTIONS /v1/check", &first, None);
    assert_eq!(answer.status, 403);
    let first = [&host, "Access-Control-Request-Method: POST"];
    let answer = http1::request(address, "OPTIONS /v1/check", &first, None);
    let allows = |(name, _): &(String, String)| name.starts_with("access-control-");
    assert!(
        answer.status >= 400 && !answer.headers.iter().any(allows),
        "{answer:?}"
    );
}

#[test]
fn every_answer_keeps_the_browser_strict() {
    let served = Served::new();
    let host = format!("Host: {}", served.address);
    for (line, host, status) in [
        ("GET /", host.as_str(), 200),
        ("GET /desk.js", &host, 200),
        ("GET /desk.css", &host, 200),
        ("GET /icon.svg", &host, 200),
        ("GET /nothing", &host, 404),
        ("GET /../Cargo.toml", &host, 404),
        ("POST /", &host, 405),
        ("GET /v1/status", &host, 401),
        ("GET /", "Host: example.org", 403),
    ] {
        let answer = http1::request(served.address, line, &[host], None);
        assert_eq!(answer.status, status, "{line}");
        let policy = answer.header("content-security-policy").unwrap();
        let parts: Vec<&str> = policy.split("; ").collect();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(parts.contains(&part), "{line}: {part}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{line}: {name}");
        }
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[tokio::test]
async fn only_this_machine_is_listened_to() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let failure = http::listen(address.parse().unwrap()).await.unwrap_err();
        assert_eq!(failure.code, "not-loopback", "{address}");
    }
    let taken = http::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let failure = http::listen(address).await.unwrap_err();
    assert_eq!(failure.exit.code(), 5);
}

#[test]
fn the_newer_loopback_works_too() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        tallystick_tests::outside::absent("IPv6 on loopback");
        return;
    }
    let served = Served::at("[::1]:0", Duration::ZERO);
    let answer = ask(&served, "GET /v1/status", None);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["clear_after_seconds"], 0);
}

#[test]
fn a_body_that_does_not_come_holds_nobody_up() {
    let served = Served::new();
    let head = format!(
        "POST /v1/check HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: \
         application/json\r\nContent-Length: 90\r\n\r\n{{",
        served.address, served.token
    );
    let mut slow = TcpStream::connect(served.address).unwrap();
    slow.write_all(head.as_bytes()).unwrap();
    // Meanwhile others are answered.
    assert_eq!(ask(&served, "GET /v1/status", None).status, 200);
    let answer = http1::read(slow);
    assert_eq!((answer.status, served.desk.asked()), (408, 0));
}

#[test]
fn what_is_under_way_is_answered_before_the_end() {
    let mut served = Served::new();
    let [one, two] = passport(&number(Conclusion::Reported, true));
    let body = format!("{{\"mrz\":\"{one}{two}\"}}");
    let started = Instant::now();
    let (address, token) = (served.address, served.token.clone());
    let asking = std::thread::spawn(move || {
        let headers = [
            &format!("Host: {address}"),
            &format!("Authorization: Bearer {token}"),
            "Content-Type: application/json",
        ];
        http1::request(address, "POST /v1/check", &headers, Some(&body))
    });
    while served.desk.asked() == 0 {
        assert!(started.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    }
    let ending = served.end();
    let answer = asking.join().unwrap();
    assert_eq!(answer.json()["conclusion"], "reported");
    assert!(started.elapsed() >= SLOWNESS);
    ending.join().unwrap();
    assert!(TcpStream::connect(address).is_err(), "it has ended");
}
