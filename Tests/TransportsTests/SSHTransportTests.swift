import Foundation
import Synchronization
import TestSupport
import Testing
import Transports

/// What only an SSH host can do wrong.
@Suite(.timeLimit(.minutes(2)))
struct SSHTransportTests {
  @Test func `an unknown host key is refused with its fingerprint and the way to mend it`() async throws {
    // Whatever the user's configuration says.
    let options = ["StrictHostKeyChecking no"]
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch, clientOptions: options) { server in
        try server.writeKnownHosts(key: nil)
        let error = try await failure(of: server)
        #expect(error.code == .hostKeyUnknown)
        #expect(error.isPermanent)
        #expect(error.host == "gpu-1")
        let fingerprint = try await server.fingerprint()
        #expect(error.message.contains(fingerprint))
        #expect(error.message.contains("rollcall hosts trust 'gpu-1' --fingerprint \(fingerprint)"))
        // Nothing was learnt in secret.
        #expect(try String(contentsOfFile: server.knownHostsFile, encoding: .utf8).isEmpty)

        try FileManager.default.removeItem(atPath: server.knownHostsFile)
        let second = try await failure(of: server)
        #expect(second.code == .hostKeyUnknown)

        // What the message says mends it.
        let trust = try await learn(server, fingerprint)
        #expect(trust.kind == "ssh-ed25519" && trust.knownHostsFile == server.knownHostsFile && !trust.wasKnown)
        let text = try await output(of: server, "echo in")
        #expect(text == "in\n")
        let before = try String(contentsOfFile: server.knownHostsFile, encoding: .utf8)
        let again = try await learn(server, fingerprint)
        #expect(again.wasKnown)
        #expect(try String(contentsOfFile: server.knownHostsFile, encoding: .utf8) == before)
      }
    }
  }

  @Test func `a changed host key is refused`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch, clientOptions: ["StrictHostKeyChecking no"]) { server in
        try server.writeKnownHosts(key: "stranger_key")
        let error = try await failure(of: server)
        #expect(error.code == .hostKeyChanged)
        #expect(error.isPermanent)
        let fingerprint = try await server.fingerprint()
        #expect(error.message.contains(fingerprint))

        // Another key than the one that was confirmed is not learnt, and the old one stays.
        let stranger = "SHA256:" + String(fingerprint.dropFirst(7).reversed())
        let before = try String(contentsOfFile: server.knownHostsFile, encoding: .utf8)
        let refusal = await #expect(throws: TransportError.self) { try await learn(server, stranger) }
        #expect(refusal?.code == .hostKeyChanged)
        #expect(try String(contentsOfFile: server.knownHostsFile, encoding: .utf8) == before)

        // The confirmed one takes its place; those of other hosts stay.
        try ("[127.0.0.9]:22 " + before.split(separator: " ").dropFirst().joined(separator: " ") + before).write(
          toFile: server.knownHostsFile, atomically: true, encoding: .utf8)
        let trust = try await learn(server, fingerprint)
        #expect(!trust.wasKnown)
        let text = try await output(of: server, "echo in")
        #expect(text == "in\n")
        let lines = try String(contentsOfFile: server.knownHostsFile, encoding: .utf8).split(separator: "\n")
        #expect(lines.count == 2)
        #expect(lines.first?.hasPrefix("[127.0.0.9]:22 ") == true)
      }
    }
  }

  private func learn(_ server: LoopbackSSHD, _ fingerprint: String) async throws -> HostKeyTrust {
    try await HostKeyTrust.learn(
      alias: server.alias, configurationFile: server.configurationFile, name: "gpu-1", fingerprint: fingerprint)
  }

  @Test func `nobody listens`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch) { server in
        server.stop()
        let error = try await failure(of: server)
        #expect(error.code == .unreachable)
        #expect(!error.isPermanent)
        #expect(error.message.contains("127.0.0.1 port \(server.port)"))
        // The same transport works once the host is back.
        let transport = transport(to: server)
        #expect(await code { try await transport.sh("true") } == .unreachable)
        try await server.start()
        let result = try await transport.sh("echo back")
        #expect(result.text == "back\n")
        await transport.close()
      }
    }
  }

  @Test func `a host that takes none of our keys`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch) { server in
        let stranger = try String(contentsOfFile: server.path("stranger_key.pub"), encoding: .utf8)
        try stranger.write(toFile: server.path("authorized_keys"), atomically: true, encoding: .utf8)
        let error = try await failure(of: server)
        #expect(error.code == .authenticationFailed)
        #expect(error.isPermanent)
        #expect(error.message.contains("publickey"))
        #expect(error.message.contains(NSUserName()))
      }
    }
  }

  @Test func `a configuration that cannot be read, a host that cannot be a host`() async throws {
    let missing = SSHTransport(alias: "loop", configurationFile: "/nonexistent/ssh_config", name: "gpu-1")
    #expect(await code { try await missing.sh("true") } == .configuration)
    await missing.close()
    let option = SSHTransport(alias: "-oProxyCommand=touch /tmp/never", name: "gpu-1")
    #expect(await code { try await option.sh("true") } == .configuration)
    await option.close()
  }

  @Test func `login noise stays out of what a command prints`() async throws {
    try await Scratch.with { scratch in
      let noise = #"echo "rollcall-0-0 welcome"; echo trouble >&2; printf 'no newline'; printf 'nor here' >&2"#
      let login = try scratch.write(
        "login.sh", "#!/bin/sh\n\(noise)\nexec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\n", permissions: 0o755)
      try await LoopbackSSHD.with(in: scratch, serverOptions: ["ForceCommand \(login)"]) { server in
        let transport = transport(to: server)
        let result = try await transport.sh("printf out; printf err >&2; exit 3")
        #expect(result.text == "out")
        #expect(result.errorOutput == Array("err".utf8))
        #expect(result.status == 3)
        let streamed = Mutex<[UInt8]>([])
        _ = try await transport.stream("head -c 3000000 /dev/zero", input: [], timeout: .seconds(30)) { piece in
          let taken = piece
          streamed.withLock { $0 += taken }
        }
        #expect(streamed.withLock { $0 } == [UInt8](repeating: 0, count: 3_000_000))
        await transport.close()
      }
    }
  }

  @Test func `a login shell that ends before the command is no result`() async throws {
    try await Scratch.with { scratch in
      let login = try scratch.write(
        "login.sh", "#!/bin/sh\necho 'This account is closed.'\nexit 0\n", permissions: 0o755)
      try await LoopbackSSHD.with(in: scratch, serverOptions: ["ForceCommand \(login)"]) { server in
        let error = try await failure(of: server)
        #expect(error.code == .noReply)
        #expect(error.message.contains("This account is closed."))
      }
    }
  }

  @Test func `login files that print for ever are given up`() async throws {
    try await Scratch.with { scratch in
      let login = try scratch.write("login.sh", "#!/bin/sh\nexec yes\n", permissions: 0o755)
      try await LoopbackSSHD.with(in: scratch, serverOptions: ["ForceCommand \(login)"]) { server in
        let error = try await failure(of: server)
        #expect(error.code == .noReply)
      }
    }
  }

  @Test func `a connection cut in the middle of a stream is lost, not an end`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch) { server in
        let transport = transport(to: server)
        let isCut = Mutex(false)
        let found = await code {
          _ = try await transport.stream("echo first; sleep 60", input: [], timeout: .seconds(50)) { _ in
            if isCut.withLock({ isCut in
              defer { isCut = true }
              return !isCut
            }) {
              server.cutConnections()
            }
          }
        }
        #expect(found == .connectionLost)
        #expect(isCut.withLock { $0 })
        let result = try await transport.sh("echo again")
        #expect(result.text == "again\n")
        await transport.close()
      }
    }
  }

  /// The command counts its runs in a file.
  @Test func `a command that was sent is not sent again`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch) { server in
        let transport = transport(to: server)
        let runs = scratch.path("runs")
        async let found = code { try await transport.sh("echo run >> \(runs); sleep 60", timeout: .seconds(50)) }
        while scratch.text("runs") == nil { try await Task.sleep(for: .milliseconds(20)) }
        server.cutConnections()
        #expect(await found == .connectionLost)
        let result = try await transport.sh("cat \(runs)")
        #expect(result.text == "run\n")
        await transport.close()
      }
    }
  }

  @Test func `an idle connection that broke is made anew`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch) { server in
        let transport = transport(to: server)
        for number in 0..<5 {
          let result = try await transport.sh("echo \(number)")
          #expect(result.text == "\(number)\n")
          server.cutConnections()
        }
        await transport.close()
      }
    }
  }

  @Test func `a host that allows two sessions gets two`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch, serverOptions: ["MaxSessions 2"]) { server in
        let transport = transport(to: server)
        try await withThrowingTaskGroup(of: Int.self) { group in
          for _ in 0..<12 { group.addTask { try await transport.sh("sleep 0.2").status } }
          for try await status in group { #expect(status == 0) }
        }
        await transport.close()
      }
    }
  }

  @Test func `a long stream delays no command`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch) { server in
        let transport = transport(to: server)
        let answers = Mutex(0)
        _ = try await transport.stream("head -c 50000000 /dev/zero", input: [], timeout: .seconds(60)) { _ in
          // Inside the receiver: the stream stands still until the command has answered.
          if answers.withLock({ $0 }) < 3 {
            let result = try await transport.sh("echo poll")
            #expect(result.text == "poll\n")
            answers.withLock { $0 += 1 }
          }
        }
        #expect(answers.withLock { $0 } == 3)
        await transport.close()
      }
    }
  }

  // MARK: -

  private func transport(to server: LoopbackSSHD) -> SSHTransport {
    SSHTransport(alias: server.alias, configurationFile: server.configurationFile, name: "gpu-1")
  }

  private func output(of server: LoopbackSSHD, _ command: String) async throws -> String {
    let transport = transport(to: server)
    let result = try await transport.sh(command)
    await transport.close()
    return result.text
  }

  private func failure(of server: LoopbackSSHD) async throws -> TransportError {
    let transport = transport(to: server)
    let error = await #expect(throws: TransportError.self) { _ = try await transport.sh("true") }
    await transport.close()
    return try #require(error)
  }

  /// The code of the error that `body` throws, nil where it throws none or another.
  private func code(_ body: () async throws -> some Any) async -> TransportError.Code? {
    do {
      _ = try await body()
      return nil
    } catch {
      return (error as? TransportError)?.code
    }
  }
}
