import Foundation
import Glibc
import Launching
import TestSupport
import Testing
import Transports

/// Hosts without room, without manners, without tools.
@Suite(.timeLimit(.minutes(4)))
struct HostFaultTests {
  /// A file system of its own; only root may mount one.
  @Test(.enabled(if: geteuid() == 0, "a tmpfs of limited size can be mounted by root only"))
  func `a full disk is told, cleaned, and costs no exit record`() async throws {
    try await SmallDisk.with(megabytes: 1) { disk, _ in try await checkFullDisk(disk) }
  }

  private func checkFullDisk(_ disk: String) async throws {
    let transport = LocalTransport()
    let launcher = DetachedLauncher(transport: transport, workdir: disk + "/w", leaseDir: disk + "/l", name: "gpu-1")
    _ = try await launcher.enrol()

    // Too much to ship.
    let big = ShippedFile(name: "big", contents: [UInt8](repeating: 7, count: 2 << 20), isExecutable: false)
    guard case .noSpace = try await launcher.launch(spec("a1", "true"), files: [big]) else {
      Issue.record("2 MiB went into 1 MiB")
      return
    }
    let absent = try await launcher.status(of: "a1")
    #expect(absent == .absent)
    let left = try FileManager.default.contentsOfDirectory(atPath: disk + "/w/incoming")
    #expect(left.isEmpty)

    // The same attempt, smaller, fills the disk while it runs; its record is written all the same.
    let command = "cat /dev/zero > ../dumps/d; echo full >&2; exit 9"
    let outcome = try await launcher.launch(spec("a1", command), files: [])
    #expect(outcome == .started)
    let record = try await launcher.end(of: "a1")
    #expect(record.code == 9)
    #expect(record.reason == ExitRecord.noSpace)

    // Now nothing fits, not even a claim.
    guard case .noSpace = try await launcher.launch(spec("a2", "true"), files: []) else {
      Issue.record("launched on a full disk")
      return
    }
    let second = try await launcher.status(of: ["a1", "a2"])
    #expect(second["a2"] == .absent)
    #expect(second["a1"] == .exited(record))
    // A first launch on a full disk cannot even put its script there.
    let fresh = DetachedLauncher(transport: transport, workdir: disk + "/other", leaseDir: disk + "/l", name: "gpu-1")
    guard case .noSpace = try await fresh.launch(spec("a3", "true"), files: []) else {
      Issue.record("launched on a full disk")
      return
    }
  }

  /// Whoever writes to a full disk takes what is given up for a moment.
  @Test(
    .enabled(if: geteuid() == 0, "a tmpfs of limited size can be mounted by root only"),
    arguments: [HostKind.local, .bash])
  func `the room for an exit record is at no time anybody else's`(_ kind: HostKind) async throws {
    try await kind.with { host in
      try await SmallDisk.with(megabytes: 1) { disk, _ in
        var host = host
        host.placed = disk + "/w"
        let launcher = host.launcher()
        _ = try await launcher.enrol()
        // In the moment between the opening of a file and what is written to it.
        let ended = host.scratch.path("ended")
        let greedy = """
          printf() {
            [ ! -e '\(ended)' ] || cat /dev/zero 2>/dev/null >>'\(disk)/greedy'
            command printf "$@"
          }

          """
        try host.patchScript([("\nwrite_exit() {\n", "\n\(greedy)write_exit() {\n")])
        // It names Python, so that it is led alone.
        let outcome = try await launcher.launch(spec("a1", ": >'\(ended)'; exit 9 # python3"), files: [])
        #expect(outcome == .started)
        let record = try await launcher.end(of: "a1")
        #expect(record.code == 9)
        #expect(FileManager.default.fileExists(atPath: disk + "/greedy"))
      }
    }
  }

  @Test func `an answer without marker is garbage, not a state`() async throws {
    try await Scratch.with { scratch in
      let liar = PrefixedTransport(prefix: "echo 'a1 absent'; echo '@x a1 absent'; exit 0; ")
      let launcher = DetachedLauncher(
        transport: liar, workdir: scratch.path("w"), leaseDir: scratch.path("l"), name: "gpu-1")
      let error = await #expect(throws: LaunchError.self) { _ = try await launcher.status(of: ["a1"]) }
      #expect(error?.code == .noReply)
      #expect(error?.message.contains("a1 absent") == true)
      await #expect(throws: LaunchError.self) { _ = try await launcher.launch(spec("a1", "true"), files: []) }
      await #expect(throws: LaunchError.self) { _ = try await launcher.enrol() }
    }
  }

  @Test func `a lock that cannot be had keeps one stop, and not its host`() async throws {
    try await Scratch.with { scratch in
      try FileManager.default.createDirectory(
        atPath: try await launchLock(of: scratch.path("w")), withIntermediateDirectories: true)
      let launcher = DetachedLauncher(
        transport: LocalTransport(), workdir: scratch.path("w"), leaseDir: scratch.path("l"), name: "gpu-1")
      let error = await #expect(throws: LaunchError.self) { try await launcher.stop("a1", reason: "cancelled") }
      #expect(error?.code == .alive)
      #expect(error?.message.contains("/w/.lock") == true)
    }
  }

  @Test func `a lock that others hold for long is no fault of the run's`() async throws {
    try await HostKind.local.with { host in
      // Stands for one that has waited.
      try host.scratch.write("bin/flock", "#!/bin/sh\n[ \"$1\" != -w ] || exit 1\n", permissions: 0o755)
      let prefix = "PATH='\(host.scratch.path("bin"))':$PATH; export PATH; "
      let launcher = host.launcher(transport: PrefixedTransport(prefix: prefix))
      let outcome = try await launcher.launch(spec("a1", "true"), files: [])
      guard case .gpuBusy(let why) = outcome else {
        Issue.record("\(outcome)")
        return
      }
      #expect(why.contains("/.lock."))
    }
  }

  /// What hangs holds the lock, and may start the run when it goes on.
  @Test func `a run of which the supervisor of this machine did not tell may come yet`() async throws {
    try await HostKind.supervised.with { host in
      var host = host
      host.supervisor = ["sh", "-c", "exit"]
      // Stands for one that has waited.
      let waiting = "#!/bin/sh\n[ \"$1\" != -w ] || [ ! -e '\(host.scratch.path("held"))' ]\n"
      try host.scratch.write("bin/flock", waiting, permissions: 0o755)
      let prefix = "PATH='\(host.scratch.path("bin"))':$PATH; export PATH; "
      let launcher = host.launcher(transport: PrefixedTransport(prefix: prefix))
      _ = try await launcher.enrol()
      try host.scratch.write("held", "")
      let error = await #expect(throws: LaunchError.self) { try await launcher.launch(spec("a1", "true"), files: []) }
      #expect(error?.code == .noReply)
      #expect(error?.message.contains("/.lock.") == true, "\(error?.message ?? "")")
    }
  }

  @Test func `a launch does not wait for another host's in the same work directory`() async throws {
    try await HostKind.local.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      let own = try await launchLock(of: host.workdir)
      // What another host holds, and an older release.
      try await runTool(
        "flock",
        [
          host.workdir + "/.lock.another-host", "flock", host.workdir + "/.lock", "sh", "-c",
          "sleep 300 >/dev/null 2>&1 & echo $! >\"$1\"", "sh", host.scratch.path("holder"),
        ])
      let outcome = try await launcher.launch(spec("a1", "true"), files: [])
      #expect(outcome == .started)
      #expect(FileManager.default.fileExists(atPath: own))
      let holder = try #require(host.scratch.text("holder")?.trimmingCharacters(in: .newlines))
      try await runTool("kill", [holder])
    }
  }

  @Test func `a missing tool is named`() async throws {
    try await Scratch.with { scratch in
      let tools = try scratch.directory("bin")
      for tool in [
        "sh", "cat", "mkdir", "mv", "wc", "rm", "tail", "head", "stat", "timeout", "du", "cmp", "grep",
        "sed", "sort", "date", "nproc", "df", "uname", "tr", "cut", "setsid", "chmod",
      ] {
        let path = try await runTool("sh", ["-c", "command -v \(tool)"]).output.trimmingCharacters(in: .newlines)
        try FileManager.default.createSymbolicLink(atPath: "\(tools)/\(tool)", withDestinationPath: path)
      }
      let launcher = DetachedLauncher(
        transport: PrefixedTransport(prefix: "PATH='\(tools)'; export PATH; "), workdir: scratch.path("w"),
        leaseDir: scratch.path("l"), name: "gpu-1")
      let error = await #expect(throws: LaunchError.self) { _ = try await launcher.enrol() }
      #expect(error?.code == .missingTool)
      #expect(error?.message.contains("flock") == true)
    }
  }

  @Test(arguments: [
    ("No space left on device", LaunchError.Code.noSpace), ("Disk quota exceeded", .noSpace),
    ("Permission denied", .workdir),
  ])
  func `a work directory that cannot be made for want of room is trouble that passes`(
    _ words: String, _ code: LaunchError.Code
  ) async throws {
    try await HostKind.local.with { host in
      _ = try await host.launcher().enrol()
      try host.scratch.write(
        "bin/mkdir", "#!/bin/sh\necho 'mkdir: cannot create directory: \(words)' >&2\nexit 1\n", permissions: 0o755)
      let prefix = "PATH='\(host.scratch.path("bin"))':$PATH; export PATH; "
      let error = await #expect(throws: LaunchError.self) {
        _ = try await host.launcher(transport: PrefixedTransport(prefix: prefix)).enrol()
      }
      #expect(error?.code == code)
      #expect(error?.message.contains(words) == true)
    }
  }

  @Test func `a work directory that was wiped is made again`() async throws {
    try await Scratch.with { scratch in
      let launcher = DetachedLauncher(
        transport: LocalTransport(), workdir: scratch.path("w"), leaseDir: scratch.path("l"), name: "gpu-1")
      _ = try await launcher.enrol()
      try FileManager.default.removeItem(atPath: scratch.path("w"))
      let state = try await launcher.status(of: "a1")
      #expect(state == .absent)
      let outcome = try await launcher.launch(spec("a1", "true"), files: [])
      #expect(outcome == .started)
      let record = try await launcher.end(of: "a1")
      #expect(record.code == 0)
    }
  }

  @Test func `a leading tilde is the remote home`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch) { server in
        let transport = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
        let launcher = DetachedLauncher(
          transport: transport, workdir: "~/.roll call", leaseDir: scratch.path("l"), name: "gpu-1")
        let directory = try await launcher.directory(of: "a1")
        #expect(directory == server.home + "/.roll call/attempts/a1")
        let outcome = try await launcher.launch(spec("a1", "pwd"), files: [])
        #expect(outcome == .started)
        _ = try await launcher.end(of: "a1")
        let log = try await launcher.log(of: "a1", name: "stdout.log", offset: 0, limit: 1000)
        #expect(String(decoding: log, as: UTF8.self) == directory + "/files\n")
        await transport.close()
      }
    }
  }
}
