//! A real browser without a window, by WebDriver (W3C) over plain HTTP. Needs Debian's `chromium` and
//! `chromium-driver`, or what stands for them.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{http1, outside, running::wait_for};

/// Keys that have no character, as WebDriver names them.
pub const ENTER: &str = "\u{E007}";
/// Escape.
pub const ESCAPE: &str = "\u{E00C}";
/// Tab.
pub const TAB: &str = "\u{E004}";
/// Space.
pub const SPACE: &str = " ";

/// A browser with one page. Ends when dropped.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Browser {
    /// Starts one; `None` where there is none.
    #[must_use]
    pub fn start() -> Option<Self> {
        let started = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn();
        let Ok(mut driver) = started else {
            outside::absent("chromedriver");
            return None;
        };
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = said.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let mut browser = Self {
            driver,
            address: SocketAddr::from(([127, 0, 0, 1], port.unwrap())),
            session: String::new(),
        };
        // No sandbox of its own: tests may run as root, where it refuses to start with one, and load
        // nothing but pages of this program.
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ];
        let options = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let made = browser.call("POST", "/session", &options);
        browser.session = made["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let host = format!("Host: {}", self.address);
        let headers = [host.as_str(), "Content-Type: application/json"];
        let body = (method == "POST").then(|| body.to_string());
        let line = format!("{method} {path}");
        let answer = http1::request(self.address, &line, &headers, body.as_deref());
        let value = answer.json()["value"].take();
        assert_eq!(answer.status, 200, "{line}: {value}");
        value
    }

    fn of_session(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}{path}", self.session), body)
    }

    /// Loads a page, and waits until it has loaded.
    pub fn open(&self, url: &str) {
        self.of_session("POST", "/url", &json!({"url": "about:blank"}));
        self.of_session("POST", "/url", &json!({"url": url}));
    }

    /// Runs the body of a function in the page; gives what it returns.
    #[must_use]
    pub fn script(&self, body: &str) -> Value {
        let call = json!({"script": body, "args": []});
        self.of_session("POST", "/execute/sync", &call)
    }

    /// Types into whatever has the focus, as fast as a reader does.
    pub fn keys(&self, text: &str) {
        let stroke = |kind: &'static str| move |key: char| json!({"type": kind, "value": key});
        let actions: Vec<Value> = text
            .chars()
            .flat_map(|key| [stroke("keyDown")(key), stroke("keyUp")(key)])
            .collect();
        let keyboard = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.of_session("POST", "/actions", &keyboard);
    }

    /// Presses a key while another is held.
    pub fn chord(&self, held: &str, key: &str) {
        let act = |kind: &str, value: &str| json!({"type": kind, "value": value});
        let actions = [
            act("keyDown", held),
            act("keyDown", key),
            act("keyUp", key),
            act("keyUp", held),
        ];
        let keyboard = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.of_session("POST", "/actions", &keyboard);
    }

    /// Clicks at a place of the window.
    pub fn click(&self, x: u32, y: u32) {
        let actions = json!([
            {"type": "pointerMove", "duration": 0, "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]);
        let mouse = json!({"actions": [{"type": "pointer", "id": "mouse", "actions": actions}]});
        self.of_session("POST", "/actions", &mouse);
    }

    /// Waits until an expression of the page is true.
    pub fn until(&self, expression: &str) {
        wait_for(expression, || {
            let holds = self.script(&format!("return Boolean({expression})"));
            (holds == true).then_some(())
        });
    }

    /// What assistive programs are told of an element: role and name.
    #[must_use]
    pub fn told(&self, selector: &str) -> (String, String) {
        let by = json!({"using": "css selector", "value": selector});
        let element = self.of_session("POST", "/element", &by);
        let id = element.as_object().unwrap().values().next().unwrap();
        let id = id.as_str().unwrap();
        let text = |what: &str| {
            let value = self.of_session("GET", &format!("/element/{id}/{what}"), &Value::Null);
            value.as_str().unwrap().to_owned()
        };
        (text("computedrole"), text("computedlabel"))
    }

    /// Sets the size of the page, and what its user asks of all pages: names and values of media
    /// features.
    pub fn set(&self, width: u32, height: u32, features: &[(&str, &str)]) {
        let features: Vec<Value> = features
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        self.tools("Emulation.setEmulatedMedia", &json!({"features": features}));
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.tools("Emulation.setDeviceMetricsOverride", &size);
    }

    fn tools(&self, command: &str, parameters: &Value) {
        let call = json!({"cmd": command, "params": parameters});
        self.of_session("POST", "/goog/cdp/execute", &call);
    }

    /// What the browser has complained of since it was asked last.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.of_session("POST", "/se/log", &json!({"type": "browser"}));
        let lines = log.as_array().unwrap().iter();
        lines.map(|line| line["message"].to_string()).collect()
    }

    /// What it shows, as PNG.
    #[must_use]
    pub fn picture(&self) -> Vec<u8> {
        let picture = self.of_session("GET", "/screenshot", &Value::Null);
        STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.of_session("DELETE", "", &Value::Null);
        }
        // It takes its browser with it. Fails only when it has ended already.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.driver.id().try_into().unwrap()),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.driver.wait();
    }
}
