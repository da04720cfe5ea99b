import Crypto
import Foundation
import Ledger
import Planning
import Transports

/// Tells what is to be told: each notice until it has been taken, with longer and longer pauses, for two days.
struct NoticeDelivery {
  /// Why a try failed; never a secret.
  struct Problem: Error {
    var message: String
  }

  let ledger: SweepLedger
  private let transport = LocalTransport()

  init(ledger: SweepLedger) { self.ledger = ledger }

  /// Seconds after which a notice is given up.
  private static let patience = 2 * 86_400.0

  /// Tries all that are due once, or those of one sweep.
  func deliver(of sweep: String? = nil) async throws {
    func now() -> Double { Date().timeIntervalSince1970 }
    for var notice in try ledger.dueNotices(now: now(), of: sweep) {
      notice.tries += 1
      do throws(Problem) {
        try await send(notice)
        notice.sent = now()
        notice.error = nil
      } catch {
        notice.error = error.message
        // 15 s, 30 s, … an hour.
        notice.nextTry = now() + min(15 * pow(2, Double(min(notice.tries - 1, 20))), 3600)
        if now() - notice.created > Self.patience { notice.failed = now() }
      }
      try Task.checkCancellation()
      try ledger.update(notice)
    }
  }

  private func send(_ notice: NoticeRecord) async throws(Problem) {
    let target = notice.target
    if target.isWebhook { return try await post(notice) }
    if let address = target.email { return try await mail(notice, to: address) }
    guard let command = target.command else { throw Problem(message: "it has no target") }
    try await run(command, input: Array((notice.payload + "\n").utf8), name: "the command")
  }

  // MARK: Webhook

  private func post(_ notice: NoticeRecord) async throws(Problem) {
    let target = notice.target
    let url = try Self.value(plain: target.webhook, variable: target.webhookEnv, file: target.webhookFile)
    guard let url, url.hasPrefix("https://") || url.hasPrefix("http://") else {
      throw Problem(message: "the webhook's URL is none")
    }
    var body = notice.payload
    if target.format == "slack" {
      struct Text: Codable { var text: String }
      guard let text = try? JSONDocument.decode(Text.self, from: body), let slack = try? JSONDocument.encode(text)
      else { throw Problem(message: "the notice has no text") }
      body = slack
    }
    var headers = ["Content-Type: application/json", "Idempotency-Key: \(notice.id)"]
    if let secret = try Self.value(plain: nil, variable: target.secretEnv, file: target.secretFile) {
      let time = Int(Date().timeIntervalSince1970)
      let code = HMAC<SHA256>.authenticationCode(
        for: Data("\(time).\(body)".utf8), using: SymmetricKey(data: Data(secret.utf8)))
      headers.append("X-Rollcall-Signature: t=\(time),v1=\(code.map { String(format: "%02x", $0) }.joined())")
    }
    // Through its standard input: others on this machine see a program's arguments.
    var options = ["url = \(Self.quoted(url))", "data-raw = \(Self.quoted(body))"]
    options += headers.map { "header = \(Self.quoted($0))" }
    let result: CommandResult
    do {
      result = try await transport.run(
        "exec curl -q -sS --proto =http,https --max-time 30 -o /dev/null -w '%{http_code}' -K -",
        input: Array((options.joined(separator: "\n") + "\n").utf8), limit: 1 << 16, timeout: .seconds(45))
    } catch {
      throw Problem(message: "curl could not be run")
    }
    guard result.status == 0 else { throw Problem(message: "curl ended with \(result.status)") }
    let status = String(decoding: result.output, as: UTF8.self)
    guard status.hasPrefix("2") else { throw Problem(message: "the webhook answered \(status)") }
  }

  private static func value(plain: String?, variable: String?, file: String?) throws(Problem) -> String? {
    if let plain { return plain }
    var value: String?
    if let variable {
      value = ProcessInfo.processInfo.environment[variable]
      guard let value, !value.isEmpty else { throw Problem(message: "the variable \(variable) is not set") }
    } else if let file {
      value = try? String(contentsOfFile: file, encoding: .utf8)
      guard value != nil else { throw Problem(message: "the file \(file) cannot be read") }
    }
    return value?.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// As curl's configuration files want it.
  private static func quoted(_ text: String) -> String {
    var quoted = "\""
    for character in text.unicodeScalars {
      switch character {
      case "\\", "\"": quoted += "\\\(character)"
      case "\n": quoted += "\\n"
      case "\r": quoted += "\\r"
      case "\t": quoted += "\\t"
      default: quoted.unicodeScalars.append(character)
      }
    }
    return quoted + "\""
  }

  // MARK: Mail

  private func mail(_ notice: NoticeRecord, to address: String) async throws(Problem) {
    struct Text: Decodable { var text: String }
    let text = (try? JSONDocument.decode(Text.self, from: notice.payload))?.text ?? notice.job
    let subject = text.prefix(120).unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? " " : Character($0) }
    let isPlain = text.utf8.prefix(480).allSatisfy { $0 < 0x80 }
    let encoded = Data(String(subject).utf8).base64EncodedString()
    let message = """
      To: \(address)
      Subject: \(isPlain ? String(subject) : "=?UTF-8?B?\(encoded)?=")
      Message-ID: <\(notice.id)@rollcall>
      MIME-Version: 1.0
      Content-Type: text/plain; charset=utf-8

      \(text)

      \(notice.payload)

      """
    try await run(
      #"PATH=$PATH:/usr/sbin:/usr/lib; exec sendmail -t -i"#, input: Array(message.utf8), name: "sendmail")
  }

  private func run(_ command: String, input: [UInt8], name: String) async throws(Problem) {
    let result: CommandResult
    do {
      result = try await transport.run(command, input: input, limit: 1 << 20, timeout: .seconds(60))
    } catch {
      throw Problem(message: "\(name) could not be run: \(error)")
    }
    guard result.status == 0 else {
      let last = String(decoding: result.errorOutput.suffix(200), as: UTF8.self)
      throw Problem(message: "\(name) ended with \(result.status): \(last)")
    }
  }
}
