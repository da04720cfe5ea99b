import Foundation
import Transports

/// Asks an OpenAI-style server, by `curl`: `GET /health`, `POST /v1/completions`.
struct CompletionsClient {
  /// Why there is no answer, in a sentence.
  struct Problem: Error {
    var message: String
  }

  /// `http://host:port`
  let base: String
  private let transport = LocalTransport()

  init(_ url: String) {
    var base = url[...]
    while base.hasSuffix("/") { base = base.dropLast() }
    if base.hasSuffix("/v1/completions") { base = base.dropLast("/v1/completions".count) }
    if base.hasSuffix("/v1") { base = base.dropLast("/v1".count) }
    self.base = String(base)
  }

  /// Waits until the server says that it is healthy.
  ///
  /// - Returns: nil where it is, else what it said last.
  func waitUntilHealthy(seconds: Double) async throws -> String? {
    let clock = ContinuousClock()
    let end = clock.now + .seconds(seconds)
    while true {
      do throws(Problem) {
        let (status, _) = try await get("/health")
        if status == 200 { return nil }
        // Servers without it have the list of models.
        if status == 404, try await get("/v1/models").status == 200 { return nil }
        throw Problem(message: "\(base)/health answers \(status)")
      } catch {
        guard clock.now < end else { return "\(error.message) after \(Int(seconds)) s" }
      }
      try await Task.sleep(for: .milliseconds(500))
    }
  }

  /// The text that the model goes on with, at temperature 0.
  func complete(_ prompt: String, model: String, maxTokens: Int) async throws(Problem) -> String {
    struct Request: Encodable {
      var model: String
      var prompt: String
      var maxTokens: Int
      var temperature = 0
      var topP = 1
      var seed = 0
      var stream = false

      enum CodingKeys: String, CodingKey {
        case model, prompt, temperature, seed, stream
        case maxTokens = "max_tokens"
        case topP = "top_p"
      }
    }
    struct Response: Decodable {
      struct Choice: Decodable {
        var text: String
      }

      var choices: [Choice]
    }
    let body: Data
    do {
      body = try JSONEncoder().encode(Request(model: model, prompt: prompt, maxTokens: maxTokens))
    } catch {
      throw Problem(message: "the prompt cannot be sent: \(error)")
    }
    let (status, answer) = try await ask(
      "-H 'Content-Type: application/json' --data-binary @-", "/v1/completions", input: Array(body), seconds: 300)
    guard status == 200 else {
      throw Problem(
        message: "\(base)/v1/completions answers \(status): \(String(decoding: answer.prefix(200), as: UTF8.self))")
    }
    guard let response = try? JSONDecoder().decode(Response.self, from: Data(answer)),
      let choice = response.choices.first
    else { throw Problem(message: "\(base)/v1/completions gives no `choices` with `text`") }
    return choice.text
  }

  private func get(_ path: String) async throws(Problem) -> (status: Int, body: [UInt8]) {
    try await ask("", path, input: [], seconds: 10)
  }

  private func ask(
    _ options: String, _ path: String, input: [UInt8], seconds: Int
  ) async throws(Problem) -> (status: Int, body: [UInt8]) {
    let url = base + path
    let result: CommandResult
    do {
      result = try await transport.run(
        "curl -sS --max-time \(seconds) -w '\\n%{http_code}' \(options) \(shellQuote(url))", input: input,
        limit: 4 << 20, timeout: .seconds(seconds + 10))
    } catch {
      throw Problem(message: "\(url): \(error)")
    }
    guard result.status == 0 else {
      throw Problem(
        message: result.status == 127
          ? "curl is not installed on this machine"
          : "\(url): \(String(decoding: result.errorOutput.prefix(300), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines))"
      )
    }
    guard let end = result.output.lastIndex(of: UInt8(ascii: "\n")),
      let status = Int(String(decoding: result.output[(end + 1)...], as: UTF8.self))
    else { throw Problem(message: "\(url): curl gives no status") }
    return (status, Array(result.output[..<end]))
  }
}
