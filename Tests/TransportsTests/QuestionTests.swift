import Synchronization
import TestSupport
import Testing

@testable import Transports

/// What is asked again and again: answered by a shell that stands, or by commands where there can be none.
@Suite(.timeLimit(.minutes(2)))
struct QuestionTests {
  @Test(arguments: TransportKind.allCases)
  func `answers come whole and in order, each with its status`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      for number in 0..<6 {
        let result = try await transport.question("printf 'é%s\\n\\n' \(number); exit \(number * 50)")
        #expect(result.text == "é\(number)\n\n")
        #expect(result.status == number * 50)
      }
      let empty = try await transport.question(":")
      #expect(empty.output.isEmpty)
      #expect(empty.status == 0)
      let big = try await transport.question("head -c 900000 /dev/zero")
      #expect(big.output == [UInt8](repeating: 0, count: 900_000))
      // What looks like an end is none.
      let lines = try await transport.question("printf '\\nrollcall-1-2 0\\n'")
      #expect(lines.text == "\nrollcall-1-2 0\n")
    }
  }

  @Test func `one shell answers many questions, and nothing of one is left for the next`() async throws {
    try await withHost { _, transport in
      _ = try await transport.question("true")
      let shells = try await asked(transport, 5, "echo $$; x=left; cd /; umask 077")
      #expect(Set(shells).count == 1)
      let rest = try await transport.question("echo ${x-none}; pwd; umask")
      #expect(!rest.text.contains("left"))
      #expect(!rest.text.hasPrefix("none\n/\n"))
      #expect(!rest.text.hasSuffix("077\n"))
    }
  }

  @Test func `questions that end their shell, hold a fault or read input harm no other`() async throws {
    try await withHost { _, transport in
      for _ in 0..<2 {
        let exec = try await transport.question("exec echo on")
        #expect(exec.text == "on\n")
        let fault = try await transport.question("echo 'a; )")
        #expect(fault.status == 2)
        let input = try await transport.question("cat; echo end")
        #expect(input.text == "end\n")
        // Its own shell, and with it the one that stands.
        let killed = try await transport.question("kill -KILL $$; echo sent")
        #expect(killed.text == "sent\n" || killed.status == 137)
      }
    }
  }

  @Test func `a question above its limit or its time says so, and the next one is answered`() async throws {
    try await withHost { _, transport in
      _ = try await transport.question("true")
      let large = await #expect(throws: TransportError.self) {
        _ = try await transport.ask("head -c 5000 /dev/zero", limit: 1000, timeout: .seconds(60))
      }
      #expect(large?.code == .outputTooLarge)
      let exact = try await transport.ask("head -c 1000 /dev/zero", limit: 1000, timeout: .seconds(60))
      #expect(exact.output.count == 1000)
      let late = await #expect(throws: TransportError.self) {
        _ = try await transport.ask("sleep 300", limit: 1000, timeout: .milliseconds(300))
      }
      #expect(late?.code == .timedOut || late?.code == .noReply)
      let next = try await transport.question("echo next")
      #expect(next.text == "next\n")
    }
  }

  @Test func `questions at once are all answered`() async throws {
    try await withHost { _, transport in
      let answers = try await withThrowingTaskGroup(of: String.self) { group in
        for number in 0..<30 { group.addTask { try await transport.question("echo \(number)").text } }
        return try await group.reduce(into: Set<String>()) { $0.insert($1) }
      }
      #expect(answers == Set((0..<30).map { "\($0)\n" }))
    }
  }

  @Test func `a connection that broke is made anew for the next question`() async throws {
    try await withHost { server, transport in
      for number in 0..<6 {
        let result = try await transport.question("echo \(number)")
        #expect(result.text == "\(number)\n")
        if number % 2 == 1 { server.cutConnections() }
      }
    }
  }

  @Test(arguments: [1, 2])
  func `a host without a session to spare answers all the same`(_ sessions: Int) async throws {
    try await withHost(serverOptions: ["MaxSessions \(sessions)"]) { _, transport in
      for number in 0..<4 {
        let question = try await transport.question("echo \(number)")
        #expect(question.text == "\(number)\n")
        let commands = try await withThrowingTaskGroup(of: Int.self) { group in
          for _ in 0..<3 { group.addTask { try await transport.sh("sleep 0.05; exit 3").status } }
          return try await group.reduce(into: [Int]()) { $0.append($1) }
        }
        #expect(commands == [3, 3, 3])
      }
    }
  }

  @Test func `whoever gives up waiting leaves nothing to the next`() async throws {
    try await withHost { _, transport in
      _ = try await transport.question("true")
      let task = Task { try await transport.question("sleep 300; echo late") }
      try await Task.sleep(for: .milliseconds(200))
      task.cancel()
      let given = await task.result
      #expect(throws: (any Error).self) { try given.get() }
      let next = try await transport.question("echo next")
      #expect(next.text == "next\n")
    }
  }

  // MARK: -

  private func withHost(
    serverOptions: [String] = [], _ body: (LoopbackSSHD, SSHTransport) async throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch, serverOptions: serverOptions) { server in
        let transport = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
        try await body(server, transport)
        await transport.close()
      }
    }
  }

  private func asked(_ transport: SSHTransport, _ count: Int, _ question: String) async throws -> [String] {
    var answers: [String] = []
    for _ in 0..<count { answers.append(try await transport.question(question).text) }
    return answers
  }
}

extension Transport {
  fileprivate func question(_ text: String) async throws -> CommandResult {
    try await ask(text, limit: 1 << 20, timeout: .seconds(60))
  }
}
