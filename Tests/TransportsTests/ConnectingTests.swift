import Foundation
import Glibc
import TestSupport
import Testing

@testable import Transports

/// How connections come about: many at once, ahead of time, with which cipher.
@Suite(.timeLimit(.minutes(2)))
struct ConnectingTests {
  @Test func `a host that turns connections away is reached by all in the end`() async throws {
    try await Scratch.with { scratch in
      // From the third connection on that is not logged in yet, every one is closed unheard.
      try await LoopbackSSHD.with(in: scratch, serverOptions: ["MaxStartups 2:100:3"]) { server in
        let transports = (0..<24).map { _ in
          SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
        }
        let answers = try await withThrowingTaskGroup(of: String.self) { group in
          for (number, transport) in transports.enumerated() {
            group.addTask { try await transport.sh("echo \(number)").text }
          }
          return try await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(answers == Set((0..<24).map { "\($0)\n" }))
        for transport in transports { await transport.close() }
      }
    }
  }

  @Test func `a host that turns every connection away is unreachable`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch, serverOptions: ["MaxStartups 1:100:1"]) { server in
        // One that never logs in takes the only place.
        var found = Holder(port: server.port)
        while found == nil {
          try await Task.sleep(for: .milliseconds(25))
          found = Holder(port: server.port)
        }
        let holder = try #require(found)
        let transport = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
        let error = await #expect(throws: TransportError.self) { _ = try await transport.sh("echo in") }
        #expect(error?.code == .unreachable)
        #expect(error?.isPermanent == false)
        holder.close()
        let text = try await transport.sh("echo in").text
        #expect(text == "in\n")
        await transport.close()
      }
    }
  }

  @Test func `an agent that never answers is known from one that does and from none`() async throws {
    try await Scratch.with { scratch in
      let path = scratch.path("agent")
      let silent = try #require(try? UnixListener(path))
      #expect(SSHAgent.isSilent(at: path))
      silent.close()
      #expect(!SSHAgent.isSilent(at: path), "nobody listens there any more")
      #expect(!SSHAgent.isSilent(at: scratch.path("nothing")))
      #expect(!SSHAgent.isSilent(at: String(repeating: "x", count: 500)))
      let real = scratch.path("real")
      let started = try await runTool("ssh-agent", ["-a", real])
      let number = started.output.split(separator: ";").first { $0.contains("SSH_AGENT_PID=") }
      let agent = try #require(number.flatMap { Int32($0.split(separator: "=").last ?? "") })
      defer { kill(agent, SIGTERM) }
      #expect(!SSHAgent.isSilent(at: real))
    }
  }

  @Test func `so many may connect as the gate's bound says, in the order they came`() {
    let gate = ConnectGate()
    let target = SSHTarget(name: "x", alias: "x", configurationFile: nil)
    let connections = (0..<12).map { _ in SSHConnection(target) }
    for connection in connections[..<8] { #expect(gate.enter(connection)) }
    for connection in connections[8...] { #expect(!gate.enter(connection)) }
    gate.leave(.connected)
    #expect(!gate.enter(connections[9]))
    #expect(gate.enter(connections[8]))
    // Whoever gave up holds no place in the queue.
    gate.forget(connections[9])
    gate.leave(.failed)
    #expect(gate.enter(connections[10]))
    // Half of eight from now on: five of the eight inside must leave before the next.
    gate.leave(.turnedAway)
    for _ in 0..<3 {
      #expect(!gate.enter(connections[11]))
      // Turned away together counts once.
      gate.leave(.turnedAway)
    }
    #expect(!gate.enter(connections[11]))
    gate.leave(.failed)
    #expect(gate.enter(connections[11]))
  }

  @Test func `a connection is made ahead of the first stream`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch) { server in
        func logins() throws -> Int {
          try String(contentsOfFile: server.path("log"), encoding: .utf8).split(separator: "\n")
            .filter { $0.contains("Accepted publickey") }.count
        }
        let transport = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
        transport.prepareToStream()
        var waits = 0
        while try logins() == 0, waits < 400 {
          try await Task.sleep(for: .milliseconds(25))
          waits += 1
        }
        let result = try await transport.stream("true", input: [], timeout: .seconds(60)) { _ in }
        #expect(result.status == 0)
        let count = try logins()
        #expect(count == 1)
        await transport.close()
        // Nothing is done for one that is closed.
        transport.prepareToStream()
      }
    }
  }

  @Test func `whoever closed a connection has seen the end of its thread`() async throws {
    // Whoever joins a thread may be told a moment before its entry is gone; it then is on its way out (PF_EXITING).
    func threads() throws -> [String] {
      try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").compactMap { task -> String? in
        let stat = try? String(contentsOfFile: "/proc/self/task/\(task)/stat", encoding: .utf8)
        guard let stat, let open = stat.firstIndex(of: "("), let close = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[close...].split(separator: " ")
        guard fields.count > 7, let flags = Int(fields[7]), flags & 4 == 0 else { return nil }
        return String(stat[stat.index(after: open)..<close])
      }.filter { $0.hasPrefix("ends-with-") }
    }
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch) { server in
        let transports = (0..<32).map {
          SSHTransport(alias: server.alias, configurationFile: server.configurationFile, name: "ends-with-\($0)")
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
          for transport in transports { group.addTask { _ = try await transport.sh("true") } }
          try await group.waitForAll()
        }
        let during = try threads()
        #expect(during.count == 32)
        await withTaskGroup { group in for transport in transports { group.addTask { await transport.close() } } }
        let after = try threads()
        #expect(after == [])
      }
    }
  }

  @Test func `a process that exits while a connection stands leaves out its libraries' clean-up`() async {
    // The handler stands for OpenSSL's, which was set before ours, too.
    await #expect(processExitsWith: .exitCode(0)) {
      atexit { _exit(7) }
      let transport = SSHTransport(alias: "127.0.0.1", configurationFile: "/dev/null")
      transport.prepareToStream()
      withExtendedLifetime(transport) { exit(0) }
    }
    await #expect(processExitsWith: .exitCode(7)) {
      atexit { _exit(7) }
      let transport = SSHTransport(alias: "127.0.0.1", configurationFile: "/dev/null")
      transport.prepareToStream()
      await transport.close()
      exit(0)
    }
  }

  @Test(.enabled(if: dlsym(nil, "OPENSSL_atexit") != nil, "libssh computes with another library than OpenSSL"))
  func `a process that exits while a connection stands ends before OpenSSL cleans up`() async {
    await #expect(processExitsWith: .exitCode(0)) {
      let transport = SSHTransport(alias: "127.0.0.1", configurationFile: "/dev/null")
      transport.prepareToStream()
      typealias Draw = @convention(c) (UnsafeMutablePointer<UInt8>, Int32) -> Int32
      typealias Handler = @convention(c) () -> Void
      typealias Register = @convention(c) (Handler) -> Int32
      guard let draw = dlsym(nil, "RAND_bytes"), let register = dlsym(nil, "OPENSSL_atexit") else { exit(8) }
      // The first connection computes; what OpenSSL does in its clean-up comes to light by the exit code.
      var byte: UInt8 = 0
      guard unsafeBitCast(draw, to: Draw.self)(&byte, 1) == 1,
        unsafeBitCast(register, to: Register.self)({ _exit(7) }) == 1
      else { exit(9) }
      withExtendedLifetime(transport) { exit(0) }
    }
  }

  @Test func `a far host may send more ahead than a near one, each within bounds`() {
    let trips: [Duration] = [
      .zero, .microseconds(50), .milliseconds(4), .milliseconds(8), .milliseconds(50), .seconds(9),
    ]
    let windows = trips.map { SSHSession.streamWindow(roundTrip: $0) }
    let limits = SSHTransport.streamWindow
    #expect(windows == windows.sorted())
    #expect(windows[1] == limits.least)
    #expect(windows[2] > limits.least)
    #expect(windows[3] < limits.most)
    // Half of it in 50 ms: what 150 MiB a second take.
    #expect(windows[4] / 2 >= (150 << 20) / 20)
    #expect(windows[5] == limits.most)
  }

  @Test func `a preparation that fails leaves the error to the call`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch) { server in
        try server.writeKnownHosts(key: nil)
        let transport = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
        transport.prepareToStream()
        let error = await #expect(throws: TransportError.self) {
          _ = try await transport.stream("true", input: [], timeout: .seconds(60)) { _ in }
        }
        #expect(error?.code == .hostKeyUnknown)
        await transport.close()
      }
    }
  }

  @Test(arguments: ["chacha20-poly1305@openssh.com", "aes256-ctr", "aes128-gcm@openssh.com"])
  func `a host with one cipher is reached with that one`(_ cipher: String) async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch, serverOptions: ["Ciphers \(cipher)"]) { server in
        let transport = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
        let text = try await transport.sh("echo in").text
        #expect(text == "in\n")
        await transport.close()
      }
    }
  }

  @Test func `the user's own Ciphers stand`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(
        in: scratch, serverOptions: ["Ciphers aes128-gcm@openssh.com"], clientOptions: ["Ciphers aes256-ctr"]
      ) { server in
        let transport = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
        let error = await #expect(throws: TransportError.self) { _ = try await transport.sh("echo in") }
        #expect(error?.code == .unreachable)
        await transport.close()
      }
    }
  }
}

extension ConnectingTests {
  @Test func `the quicker key exchange is chosen where both sides know it`() async throws {
    let chosen = try await keyExchange()
    #expect(chosen == "ecdh-sha2-nistp256")
    let other = try await keyExchange(serverOptions: ["KexAlgorithms curve25519-sha256"])
    #expect(other == "curve25519-sha256")
    let old = try await keyExchange(serverOptions: ["KexAlgorithms diffie-hellman-group14-sha256"])
    #expect(old == "diffie-hellman-group14-sha256")
  }

  @Test func `the user's own KexAlgorithms stand`() async throws {
    let chosen = try await keyExchange(clientOptions: ["KexAlgorithms curve25519-sha256,ecdh-sha2-nistp256"])
    #expect(chosen == "curve25519-sha256")
  }

  private func keyExchange(serverOptions: [String] = [], clientOptions: [String] = []) async throws -> String {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch, serverOptions: serverOptions, clientOptions: clientOptions) { server in
        let target = SSHTarget(
          name: "here", alias: server.alias, configurationFile: server.configurationFile)
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        defer { for end in ends { Glibc.close(end) } }
        return try SSHSession(target, wakeDescriptor: ends[0]).keyExchange
      }
    }
  }
}

/// A connection that says nothing.
private struct Holder {
  private let descriptor: Int32

  init?(port: Int) {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let descriptor = descriptor
    let isConnected =
      withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      } == 0
    guard isConnected else { return nil }
    // sshd's greeting, `SSH-2.0`, not that it has too many: it counts the connection from here on.
    var byte: UInt8 = 0
    guard read(descriptor, &byte, 1) == 1, byte == UInt8(ascii: "S") else {
      Glibc.close(descriptor)
      return nil
    }
  }

  func close() { Glibc.close(descriptor) }
}

/// A socket that takes connections and says nothing.
private struct UnixListener {
  private let descriptor: Int32

  init(_ path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    try withUnsafeMutableBytes(of: &address.sun_path) { room in
      try #require(path.utf8.count < room.count)
      room.copyBytes(from: path.utf8)
    }
    let isBound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
    try #require(isBound && listen(descriptor, 8) == 0)
  }

  func close() { Glibc.close(descriptor) }
}
