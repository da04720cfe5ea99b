import Transports

/// Calls a script on one host, `agent.sh` or one that begins with other verbs; puts it there where it is missing.
struct Agent: Sendable {
  let transport: any Transport
  let host: String
  let workdir: String
  let leaseDir: String
  /// nil: ask the host.
  let gpus: Int?
  var script = Script.detached

  /// A text, named by its content (FNV-1a), so that versions never overwrite each other.
  struct Script: Sendable {
    let bytes: [UInt8]
    let version: String

    init(_ bytes: [UInt8]) {
      var hash: UInt64 = 0xCBF2_9CE4_8422_2325
      for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
      self.bytes = bytes
      version = String(hash, radix: 16)
    }

    static let detached = Script(PackageResources.common_sh + PackageResources.agent_sh)
  }

  /// An answer: its marked lines without the marker, and everything behind the first one.
  struct Reply {
    var lines: [Substring]
    var body: [UInt8]
  }

  /// Runs one verb and reads its answer.
  /// - Parameter limit: Bytes the answer may have.
  func call(
    _ verb: String, _ arguments: [String] = [], input: [UInt8] = [], limit: Int = 16 << 20,
    timeout: Duration = .seconds(60)
  ) async throws -> Reply {
    let reply = try await attempt(verb, arguments, input: input, limit: limit, timeout: timeout)
    guard reply.lines.first == "install" else { return reply }
    try await install()
    let second = try await attempt(verb, arguments, input: input, limit: limit, timeout: timeout)
    guard second.lines.first != "install" else {
      throw error(.workdir, "the script that was just put into \(workdir)/agent is not there; is it being cleaned?")
    }
    return second
  }

  func error(_ code: LaunchError.Code, _ message: String) -> LaunchError {
    LaunchError(code: code, host: host, message: message)
  }

  /// - Parameter problem: The host's words. A full disk, or quota, passes.
  func unusable(_ problem: String) -> LaunchError {
    let isFull = problem.contains("No space left") || problem.contains("quota")
    return error(isFull ? .noSpace : .workdir, "the work directory \(workdir) cannot be used: \(problem)")
  }

  // MARK: -

  private func attempt(
    _ verb: String, _ arguments: [String], input: [UInt8], limit: Int, timeout: Duration
  ) async throws -> Reply {
    let nonce = newNonce()
    let words =
      ([nonce, verb].map(shellQuote) + [shellPath(workdir), shellPath(leaseDir), shellQuote(declared)]
      + arguments.map(shellQuote)).joined(separator: " ")
    // It is asked again and again, and needs no shell of its own: only launches copy the script that they run in.
    let isQuestion = verb == "status"
    let text = """
      f=\(shellPath(workdir))/agent/\(script.version).sh
      [ -s "$f" ] && [ -r "$f" ] || { echo '@\(nonce) install'; exit 0; }
      \(isQuestion ? "set -- \(words); . \"$f\"" : "exec sh \"$f\" \(words)")
      """
    let result =
      if isQuestion {
        try await transport.ask(text, limit: limit, timeout: timeout)
      } else {
        try await transport.run(text, input: input, limit: limit, timeout: timeout)
      }
    return try parse(result, nonce: nonce)
  }

  /// Writes the script under the name of its content, aside and renamed.
  private func install() async throws {
    let nonce = newNonce()
    let result = try await transport.run(
      """
      umask 022
      d=\(shellPath(workdir))/agent t=\(shellPath(workdir))/agent/.\(script.version).$$
      { mkdir -p "$d" && cat >"$t" && [ "$(wc -c <"$t")" -eq \(script.bytes.count) ] && { sync "$t" 2>/dev/null || :; } && mv "$t" "$d/\(script.version).sh"; } 2>&1 \
      && echo '@\(nonce) installed' || rm -f "$t" 2>/dev/null
      """, input: script.bytes, limit: 1 << 20, timeout: .seconds(60))
    let text = String(decoding: result.output, as: UTF8.self)
    guard text.contains("@\(nonce) installed") else {
      let problem = text.split(separator: "\n").first.map(String.init) ?? "no reason given"
      throw unusable(problem)
    }
  }

  private func parse(_ result: CommandResult, nonce: String) throws -> Reply {
    let marker = Array("@\(nonce) ".utf8)
    var lines: [Substring] = []
    var body: [UInt8] = []
    var start = 0
    while start < result.output.count {
      let end = result.output[start...].firstIndex(of: UInt8(ascii: "\n")) ?? result.output.count
      if result.output[start..<end].starts(with: marker) {
        lines.append(Substring(decoding: result.output[(start + marker.count)..<end], as: UTF8.self))
        if lines.count == 1 { body = Array(result.output[min(end + 1, result.output.count)...]) }
        // Behind it stand the bytes of a log, which are not lines of ours.
        if lines.first == "log" { break }
      }
      start = end + 1
    }
    guard !lines.isEmpty else {
      let said = String(decoding: (result.output + result.errorOutput).prefix(300), as: UTF8.self)
      throw error(
        .noReply, "the host's answer has no marked line (status \(result.status)); it said: \(said.debugDescription)")
    }
    return Reply(lines: lines, body: body)
  }

  private var declared: String { gpus.map(String.init) ?? "auto" }
}

/// A word for the shell that stands for a path; a leading `~/` is the remote user's home.
func shellPath(_ path: String) -> String {
  if path == "~" { return "\"$HOME\"" }
  if path.hasPrefix("~/") { return "\"$HOME\"" + shellQuote(String(path.dropFirst(1))) }
  return shellQuote(path)
}

private func newNonce() -> String {
  var generator = SystemRandomNumberGenerator()
  return String(generator.next(), radix: 36)
}
