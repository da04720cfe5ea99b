import Synchronization
import TestSupport
import Testing
import Transports

/// What every transport must do; each test runs over all of them.
@Suite(.timeLimit(.minutes(8)))
struct TransportConformance {
  @Test(arguments: TransportKind.allCases)
  func `an exit code is a result`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      for code in [0, 1, 3, 126, 127, 255] {
        let result = try await transport.sh("echo out; echo err >&2; exit \(code)")
        #expect(result.status == code)
        #expect(result.text == "out\n")
        #expect(String(decoding: result.errorOutput, as: UTF8.self).contains("err\n"))
      }
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `an end by signal is 128 plus the signal`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      let result1 = try await transport.sh("kill -KILL $$")
      #expect(result1.status == 137)
      let result2 = try await transport.sh("kill -TERM $$")
      #expect(result2.status == 143)
      let result3 = try await transport.sh("kill -USR1 $$")
      #expect(result3.status == 138)
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `a command not found says so`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      let result = try await transport.sh("no-such-program-here")
      #expect(result.status == 127)
      #expect(String(decoding: result.errorOutput, as: UTF8.self).contains("no-such-program-here"))
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `a mebibyte of bytes goes in and comes back`(_ kind: TransportKind) async throws {
    let bytes = SplitMix64.bytes(1 << 20)
    try await kind.with { transport in
      let result = try await transport.sh("cat; cat >&2 /dev/null", input: bytes, limit: 2 << 20)
      #expect(result.status == 0)
      #expect(result.output == bytes)
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `large both ways at once does not deadlock`(_ kind: TransportKind) async throws {
    let bytes = SplitMix64.bytes(12 << 20)
    try await kind.with { transport in
      // Writes as much to both outputs while it still reads.
      let received = Mutex<[UInt8]>([])
      let result = try await transport.stream("tee /dev/stderr", input: bytes, timeout: .seconds(300)) { piece in
        let taken = piece
        received.withLock { $0 += taken }
      }
      #expect(result.status == 0)
      #expect(result.output.isEmpty)
      #expect(received.withLock { $0 } == bytes)
      #expect(result.errorOutput == Array(bytes.suffix(65_536)))
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `a command need not read its input`(_ kind: TransportKind) async throws {
    let bytes = SplitMix64.bytes(8 << 20)
    try await kind.with { transport in
      let result4 = try await transport.sh("exit 4", input: bytes)
      #expect(result4.status == 4)
      let result5 = try await transport.sh("head -c 3 | wc -c", input: bytes)
      #expect(result5.text == "3\n")
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `a big output comes in order and whole`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      let received = Mutex<[UInt8]>([])
      let result = try await transport.stream(
        "head -c 67108864 /dev/zero | tr '\\0' 'x'; printf end", input: [], timeout: .seconds(300)
      ) { piece in
        let taken = piece
        received.withLock { $0 += taken }
      }
      #expect(result.status == 0)
      #expect(received.withLock { $0 } == [UInt8](repeating: 120, count: 67_108_864) + Array("end".utf8))
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `output above the limit is an error`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      let result6 = try await transport.sh("head -c 1000 /dev/zero", limit: 1000)
      #expect(result6.output.count == 1000)
      let error = await #expect(throws: TransportError.self) {
        _ = try await transport.sh("head -c 1001 /dev/zero", limit: 1000)
      }
      #expect(error?.code == .outputTooLarge)
      // The transport lives on.
      let result7 = try await transport.sh("echo on")
      #expect(result7.text == "on\n")
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `a timeout ends the wait and names itself`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      let error = await #expect(throws: TransportError.self) {
        _ = try await transport.sh("sleep 100", timeout: .milliseconds(300))
      }
      #expect(error?.code == .timedOut)
      #expect(error?.isPermanent == false)
      let result8 = try await transport.sh("echo on")
      #expect(result8.text == "on\n")
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `cancelling the task ends the wait`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      let task = Task { try await transport.sh("sleep 100", timeout: .seconds(900)) }
      try await Task.sleep(for: .milliseconds(200))
      task.cancel()
      await #expect(throws: CancellationError.self) { _ = try await task.value }
      let result9 = try await transport.sh("echo on")
      #expect(result9.text == "on\n")
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `an error of the receiver ends the stream and is thrown on`(_ kind: TransportKind) async throws {
    struct Enough: Error {}
    try await kind.with { transport in
      await #expect(throws: Enough.self) {
        _ = try await transport.stream("yes", input: [], timeout: .seconds(300)) { _ in throw Enough() }
      }
      let result10 = try await transport.sh("echo on")
      #expect(result10.text == "on\n")
    }
  }

  /// The receiver stops until the host has filled every queue on the way, several times.
  @Test(arguments: TransportKind.allCases)
  func `a slow receiver loses nothing`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      let received = Mutex<(pieces: Int, bytes: [UInt8])>((0, []))
      _ = try await transport.stream("seq 1 2500000", input: [], timeout: .seconds(300)) { piece in
        let number = received.withLock { received in
          received.pieces += 1
          received.bytes += piece
          return received.pieces
        }
        if number < 10 { try await Task.sleep(for: .milliseconds(30)) }
      }
      let text = received.withLock { String(decoding: $0.bytes, as: UTF8.self) }
      let isWhole = text == (1...2_500_000).lazy.map { "\($0)\n" }.joined()
      #expect(isWhole)
    }
  }

  /// Each call waits until all eight run: a transport that lets one wait for the other never ends.
  @Test(arguments: TransportKind.allCases)
  func `eight calls run at the same time`(_ kind: TransportKind) async throws {
    try await Scratch.with { scratch in
      let meeting = try scratch.directory("meeting")
      try await kind.with { transport in
        try await withThrowingTaskGroup(of: String.self) { group in
          for number in 0..<8 {
            group.addTask {
              try await transport.sh(
                """
                : > \(meeting)/\(number)
                while [ $(ls \(meeting) | wc -l) -lt 8 ]; do sleep 0.05; done
                echo \(number)
                """, timeout: .seconds(300)
              ).text
            }
          }
          var numbers: Set<String> = []
          for try await number in group { numbers.insert(number) }
          #expect(numbers == Set((0..<8).map { "\($0)\n" }))
        }
      }
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `forty calls at once all get their own answer`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      try await withThrowingTaskGroup(of: (Int, String).self) { group in
        for number in 0..<40 { group.addTask { (number, try await transport.sh("echo \(number)").text) } }
        var count = 0
        for try await (number, text) in group {
          #expect(text == "\(number)\n")
          count += 1
        }
        #expect(count == 40)
      }
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `quotes, newlines, backslashes and UTF-8 arrive as written`(_ kind: TransportKind) async throws {
    let words = [
      "it's", "two\nlines", "a\\b\\\\c", "\"double\" $HOME `date` $(date) !!", "ü–漢字 🙂", "-n", "tab\there", "", "%s%d",
    ]
    try await kind.with { transport in
      for word in words {
        let result = try await transport.sh("printf '%s|' \(shellQuote(word)); printf '%s' x")
        #expect(result.text == word + "|x")
      }
      let lines = try await transport.sh("# a comment\nx='1\n2'\necho \"$x\"\n")
      #expect(lines.text == "1\n2\n")
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `a command that is too long or holds NUL says so`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      for command in [String(repeating: "x", count: 200_000), "echo \0"] {
        let error = await #expect(throws: TransportError.self) { _ = try await transport.sh(command) }
        #expect(error?.code == .configuration)
      }
      let long = "printf '%s' \(shellQuote(String(repeating: "y", count: 90_000)))"
      let result = try await transport.sh(long)
      #expect(result.output.count == 90_000)
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `a command with a syntax error fails as a command does`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      for command in ["echo $( (", "if true", "echo 'open"] {
        let result = try await transport.sh(command)
        #expect(result.status != 0)
        #expect(result.output.isEmpty)
        #expect(!result.errorOutput.isEmpty)
      }
      let count = try await transport.sh("echo $#; set -- a b; echo $2").text
      #expect(count == "0\nb\n")
    }
  }

  @Test(arguments: TransportKind.allCases)
  func `after close every call throws`(_ kind: TransportKind) async throws {
    try await kind.with { transport in
      let result11 = try await transport.sh("echo on")
      #expect(result11.text == "on\n")
      await transport.close()
      await transport.close()
      let error = await #expect(throws: TransportError.self) { _ = try await transport.sh("echo on") }
      #expect(error?.code == .closed)
    }
  }
}

/// The implementations under test.
enum TransportKind: String, CaseIterable, CustomTestStringConvertible {
  case local
  case ssh

  var testDescription: String { rawValue }

  func with(_ body: (any Transport) async throws -> Void) async throws {
    switch self {
    case .local:
      let transport = LocalTransport()
      try await body(transport)
      await transport.close()
    case .ssh:
      try await Scratch.with { scratch in
        try await LoopbackSSHD.with(in: scratch) { server in
          let transport = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
          try await body(transport)
          await transport.close()
        }
      }
    }
  }
}

extension Transport {
  func sh(
    _ command: String, input: [UInt8] = [], limit: Int = 1 << 20, timeout: Duration = .seconds(60)
  ) async throws -> CommandResult {
    try await run(command, input: input, limit: limit, timeout: timeout)
  }
}

extension CommandResult {
  var text: String { String(decoding: output, as: UTF8.self) }
}
