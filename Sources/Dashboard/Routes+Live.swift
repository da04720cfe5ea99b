import Foundation
import HTTPTypes
import Hummingbird
import Ledger

/// What goes on while it is read: logs, and the parts of a sweep's page.
extension Routes {
  /// The attempt that is asked for: the last one, of a gang the share of one node.
  func attempt(_ run: RunRecord, _ view: SweepView, _ question: Question) -> (AttemptRecord?, nodes: [Int]) {
    let all = view.attempts[run.name] ?? []
    let last = all.filter { $0.number == all.last?.number }
    let nodes = last.count > 1 ? last.compactMap(\.share?.node) : []
    let node = question.query["node"].flatMap(Int.init)
    let chosen = last.first { $0.share?.node == node } ?? last.first
    return (chosen, nodes)
  }

  func stream(_ question: Question) -> DashboardHooks.LogStream {
    question.query["stream"].flatMap(DashboardHooks.LogStream.init) ?? .stdout
  }

  func log(_ run: RunRecord, _ view: SweepView, _ question: Question) async throws -> Reply {
    let (attempt, nodes) = attempt(run, view, question)
    var page = LogPage(sweep: view.sweep.id, run: run, attempt: attempt, nodes: nodes, stream: stream(question))
    page.isStill = question.query["refresh"] == "off"
    // A host is not asked for each reader anew.
    let name =
      "log \(attempt?.id ?? run.name) \(run.sweep) \(page.stream.rawValue) \(page.isStill) \(run.state)"
    let hooks = hooks
    let empty = page
    return .page(
      await feed.shared(name) {
        var page = empty
        guard let attempt else { return page.html }
        do {
          if var piece = try await hooks.log(attempt, page.stream, nil) {
            if !piece.isEnd { piece.bytes = piece.bytes.withoutCutCharacter }
            page.piece = piece
          }
        } catch {
          page.trouble = "\(error)"
        }
        return page.html
      })
  }

  func logEvents(_ run: RunRecord, _ view: SweepView, _ question: Question) async -> Reply {
    let (attempt, _) = attempt(run, view, question)
    guard let attempt, attempt.id == question.query["attempt"], await feed.enter() else {
      return .plain("no such stream, or too many readers\n", status: .serviceUnavailable)
    }
    let stream = stream(question)
    // A browser that comes back says how far it came.
    let start = question.headers[HTTPField.Name("Last-Event-ID")] ?? question.query["from"]
    let offset = start.flatMap(Int.init).map { max(0, $0) } ?? 0
    return Reply(
      type: "text/event-stream",
      body: .events { send in
        do {
          try await follow(attempt, stream, from: offset, send)
          await feed.leave()
        } catch {
          await feed.leave()
          throw error
        }
      })
  }

  func follow(
    _ attempt: AttemptRecord, _ stream: DashboardHooks.LogStream, from start: Int, _ send: Reply.Send
  ) async throws {
    var offset = start
    var quiet = 0
    while true {
      guard let piece = try await hooks.log(attempt, stream, offset) else { break }
      let bytes = piece.isEnd ? piece.bytes : piece.bytes.withoutCutCharacter
      if bytes.isEmpty {
        if piece.isEnd { break }
        quiet += 1
        if quiet % 10 == 0 { try await send("", "") }
        try await Task.sleep(for: .seconds(1))
        continue
      }
      quiet = 0
      offset = piece.offset + bytes.count
      try await send("text", try Documents.text(String(decoding: bytes, as: UTF8.self)) + "\nid: \(offset)")
      if piece.isEnd { break }
    }
    try await send("end", "{}")
  }

  func events(_ sweep: String) async -> Reply {
    guard await feed.enter() else { return .plain("too many readers\n", status: .serviceUnavailable) }
    return Reply(
      type: "text/event-stream",
      body: .events { send in
        do {
          try await follow(sweep, send)
          await feed.leave()
        } catch {
          await feed.leave()
          throw error
        }
      })
  }

  func follow(_ sweep: String, _ send: Reply.Send) async throws {
    var sent: [String: String] = [:]
    var quiet = 0
    while true {
      let frame = try await feed.frame(of: sweep)
      let changed = frame.parts.filter { sent[$0.key] != $0.value }
      if !changed.isEmpty {
        let parts = Dictionary(uniqueKeysWithValues: changed.map { ($0.key, $0.value) })
        try await send("parts", try Documents.text(parts))
        sent.merge(parts) { $1 }
        quiet = 0
      } else {
        quiet += 1
        if quiet % 10 == 0 { try await send("", "") }
      }
      if frame.hasEnded {
        try await send("end", "{}")
        return
      }
      try await Task.sleep(for: .seconds(1))
    }
  }
}

extension [UInt8] {
  /// Without the first bytes of a character whose others are still to come.
  fileprivate var withoutCutCharacter: [UInt8] {
    for back in 1...3 where back <= count {
      let byte = self[count - back]
      if byte < 0x80 { return self }
      guard byte >= 0xC0 else { continue }
      let length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2
      return length > back ? Array(dropLast(back)) : self
    }
    return self
  }
}
