import Foundation
import Glibc
import Launching
import TestSupport
import Testing
import Transports

/// Hosts with NVIDIA's tool: a stand-in that prints what a file holds, since the real one needs the hardware.
@Suite(.timeLimit(.minutes(4)))
struct GPUToolTests {
  @Test func `facts, visibility and strangers`() async throws {
    try await HostKind.local.with { host in
      let fake = FakeNvidia(scratch: host.scratch)
      try fake.install()
      let transport = PrefixedTransport(prefix: fake.prefix)
      let launcher = host.launcher(gpus: nil, transport: transport)

      let facts = try await launcher.enrol()
      #expect(facts.gpuIDs == ["GPU-aaaa", "GPU-bbbb"])
      #expect(facts.gpuNames == ["NVIDIA H200", "NVIDIA H200"])
      #expect(facts.gpuDriver == "570.1")

      let show = "echo \"$CUDA_VISIBLE_DEVICES|$CUDA_DEVICE_ORDER|$ROLLCALL_GPUS\""
      let environment = [("CUDA_VISIBLE_DEVICES", "7")]
      let both = try await launcher.launch(spec("both", show, gpus: 2, environment: environment), files: [])
      #expect(both == .started)
      _ = try await launcher.end(of: "both")
      #expect(host.text("both", "stdout.log") == "GPU-aaaa,GPU-bbbb|PCI_BUS_ID|GPU-aaaa,GPU-bbbb\n")
      let none = try await launcher.launch(spec("none", show, environment: environment), files: [])
      #expect(none == .started)
      _ = try await launcher.end(of: "none")
      #expect(host.text("none", "stdout.log") == "|PCI_BUS_ID|\n")

      // A process on the first GPU, memory in use on the other.
      try host.scratch.write("apps-GPU-aaaa", "4242, /usr/bin/other\n")
      let one = try await launcher.launch(spec("one", show, gpus: 1), files: [])
      #expect(one == .started)
      _ = try await launcher.end(of: "one")
      #expect(host.text("one", "stdout.log") == "GPU-bbbb|PCI_BUS_ID|GPU-bbbb\n")
      try host.scratch.write("memory-GPU-bbbb", "70000\n")
      guard case .gpuBusy(let why) = try await launcher.launch(spec("two", show, gpus: 1), files: []) else {
        Issue.record("a GPU in use was given away")
        return
      }
      #expect(why.contains("70000 MiB"))
      guard case .gpuBusy(let who) = try await launcher.launch(spec("two", show, gpus: 2), files: []) else {
        Issue.record("a GPU in use was given away")
        return
      }
      #expect(who.contains("lock"))
    }
  }

  /// Declared GPUs are names of its own making only where there is no tool: one that fails leaves none to give.
  @Test func `a tool that fails for a while gives no GPU away, and is the host's passing trouble`() async throws {
    try await HostKind.local.with { host in
      let fake = FakeNvidia(scratch: host.scratch)
      try fake.install()
      let transport = PrefixedTransport(prefix: fake.prefix)
      let launcher = host.launcher(gpus: 2, transport: transport)
      _ = try await launcher.enrol()
      let first = try await launcher.launch(spec("first", "sleep 300", gpus: 2), files: [])
      #expect(first == .started)

      for words in ["Unable to determine the device handle\n", ""] {
        try host.scratch.write("broken", words)
        guard case .gpuBusy(let why) = try await launcher.launch(spec("next", "true", gpus: 2), files: []) else {
          Issue.record("GPUs that another run has were given away")
          return
        }
        #expect(why.contains("does not tell"))
        let error = await #expect(throws: LaunchError.self) { _ = try await launcher.enrol() }
        #expect(error?.code == .noReply)
        #expect(error?.message.contains(words.isEmpty ? "does not answer" : "device handle") == true)
      }
      // With no number in the fleet file: without a word it may have any number; of others it says that it has none.
      let unknown = host.launcher(gpus: nil, transport: transport)
      await #expect(throws: LaunchError.self) { _ = try await unknown.enrol() }
      try host.scratch.write("broken", "No devices were found\n")
      let none = try await unknown.enrol()
      #expect(none.gpuIDs == [])

      try FileManager.default.removeItem(atPath: host.scratch.path("broken"))
      let facts = try await launcher.enrol()
      #expect(facts.gpuIDs == ["GPU-aaaa", "GPU-bbbb"])
    }
  }

  @Test func `strangers are looked for once, on all GPUs together`() async throws {
    try await HostKind.local.with { host in
      let fake = FakeNvidia(scratch: host.scratch)
      try fake.install()
      let launcher = host.launcher(gpus: nil, transport: PrefixedTransport(prefix: fake.prefix))
      var share = spec("a1", "true", gpus: 2)
      share.holdSeconds = 100
      let outcome = try await launcher.launch(share, files: [])
      #expect(outcome == .started)
      func looks() -> [Int] {
        let calls = (host.scratch.text("calls") ?? "").split(separator: "\n")
        return ["memory.used", "compute-apps"].map { word in calls.count { $0.contains(word) } }
      }
      #expect(looks() == [1, 1])
      try await launcher.release("a1")
      _ = try await launcher.end(of: "a1")
      #expect(looks() == [2, 2])
    }
  }

  /// A minute is long for a test.
  @Test(arguments: [
    [("\"$tries\" -lt 3000", "\"$tries\" -lt 20"), ("\"$tries\" -ge 3000", "\"$tries\" -ge 20")],
    [("\"$tries\" -lt 3000", "\"$tries\" -lt 20"), ("\"$tries\" -ge 1200", "\"$tries\" -ge 20")],
  ])
  func `a host that is too slow to start a run is busy`(_ limits: [(String, String)]) async throws {
    try await HostKind.local.with { host in
      let fake = FakeNvidia(scratch: host.scratch)
      try fake.install()
      let launcher = host.launcher(gpus: nil, transport: PrefixedTransport(prefix: fake.prefix))
      _ = try await launcher.enrol()
      try host.patchScript(limits)
      try host.scratch.write("slow", "")
      let outcome = try await launcher.launch(spec("a1", "true", gpus: 1), files: [])
      guard case .gpuBusy(let why) = outcome else {
        Issue.record("\(outcome)")
        return
      }
      #expect(why.contains("did not begin"))
      let state = try await launcher.status(of: "a1")
      #expect(state == .absent)
    }
  }

  @Test func `a stranger that comes while a share is held ends it before it begins`() async throws {
    try await HostKind.local.with { host in
      let fake = FakeNvidia(scratch: host.scratch)
      try fake.install()
      let launcher = host.launcher(gpus: nil, transport: PrefixedTransport(prefix: fake.prefix))
      for attempt in ["met", "alone"] {
        var share = spec(attempt, "echo begun", gpus: 2)
        share.holdSeconds = 100
        let outcome = try await launcher.launch(share, files: [])
        #expect(outcome == .started)
        if attempt == "met" { try host.scratch.write("apps-GPU-bbbb", "4242, /usr/bin/other\n") }
        try await launcher.release(attempt)
        let record = try await launcher.end(of: attempt)
        #expect(record.reason == (attempt == "met" ? ExitRecord.gpuBusy : nil))
        #expect(host.text(attempt, "stdout.log") == (attempt == "met" ? "" : "begun\n"))
        try host.scratch.write("apps-GPU-bbbb", "")
      }
    }
  }

  /// Half a minute between two looks is long for a test.
  private static let looks = [
    ("next_look=$((begin + 30))", "next_look=$((begin + 2))"), ("next_look=$((now + 30))", "next_look=$((now + 2))"),
  ]

  @Test func `a stranger that comes while a run goes on marks it contended`() async throws {
    try await HostKind.local.with { host in
      let fake = FakeNvidia(scratch: host.scratch)
      try fake.install()
      let launcher = host.launcher(gpus: nil, transport: PrefixedTransport(prefix: fake.prefix))
      _ = try await launcher.enrol()
      try host.patchScript(Self.looks)
      let stop = host.scratch.path("stop")
      let command = "while [ ! -e '\(stop)' ]; do sleep 0.1; done; exit 4"
      // The run's own processes are no strangers.
      let own = "printf '%s, sh\\n' $$ > '\(host.scratch.path("apps-GPU-aaaa"))'; "
      let outcomes = [
        try await launcher.launch(spec("clean", own + command, gpus: 1), files: []),
        try await launcher.launch(spec("shared", command, gpus: 1), files: []),
      ]
      #expect(outcomes == [.started, .started])
      try host.scratch.write("apps-GPU-bbbb", "\(ProcessInfo.processInfo.processIdentifier), tests\n")
      try await until { host.text("shared", "contended") != nil }
      try host.scratch.write("stop", "")
      let shared = try await launcher.end(of: "shared")
      #expect(shared.reason == "contended")
      #expect(shared.code == 4)
      let clean = try await launcher.end(of: "clean")
      #expect(clean.reason == nil)
    }
  }

  /// A tool that not even KILL ends has a `timeout` that never comes back.
  @Test func `a tool that never answers keeps no run from its limit and no GPU from the next`() async throws {
    try await HostKind.local.with { host in
      let fake = FakeNvidia(scratch: host.scratch)
      try fake.install()
      let hung = host.scratch.path("hung")
      try host.scratch.write(
        "bin/timeout",
        """
        #!/bin/sh
        [ -e '\(host.scratch.path("hangs"))' ] || exec /usr/bin/timeout "$@"
        group=
        for word; do [ "$word" != --foreground ] || group=$word; done
        echo $$ >'\(hung)'
        exec /usr/bin/timeout $group 0 sleep 600
        """, permissions: 0o755)
      let launcher = host.launcher(gpus: nil, transport: PrefixedTransport(prefix: fake.prefix))
      _ = try await launcher.enrol()
      try host.patchScript(Self.looks)
      var outcome = try await launcher.launch(spec("hung", "sleep 300", gpus: 2, timeout: 20), files: [])
      #expect(outcome == .started)
      // Nobody but the watch is to meet it.
      try await until { host.text("hung", "environment") != nil }
      try host.scratch.write("hangs", "")
      try await until { host.scratch.text("hung")?.hasSuffix("\n") == true }
      let record = try await launcher.end(of: "hung")
      #expect(record.reason == "timeout")
      let tool = try #require(Int32((host.scratch.text("hung") ?? "").trimmingCharacters(in: .newlines)))
      #expect(isRunning(tool), "it is nobody's to wait for, nor to end")
      try FileManager.default.removeItem(atPath: host.scratch.path("hangs"))
      outcome = try await launcher.launch(spec("next", "true", gpus: 2), files: [])
      #expect(outcome == .started)
      kill(tool, SIGTERM)
    }
  }

  @Test func `AMD's GPUs, their visibility, and strangers on them`() async throws {
    try await HostKind.local.with { host in
      let fake = FakeAMD(scratch: host.scratch)
      try fake.install()
      let launcher = host.launcher(gpus: nil, transport: PrefixedTransport(prefix: fake.prefix))
      let facts = try await launcher.enrol()
      #expect(facts.gpuIDs == ["0", "1", "2"])
      #expect(facts.gpuNames == ["gfx942", "gfx942", "gfx942"])

      let show = "echo \"$ROCR_VISIBLE_DEVICES|${HIP_VISIBLE_DEVICES-}|${CUDA_VISIBLE_DEVICES-}|$ROLLCALL_GPUS\""
      let environment = [("HIP_VISIBLE_DEVICES", "7"), ("CUDA_VISIBLE_DEVICES", "7"), ("ROCR_VISIBLE_DEVICES", "7")]
      // A queue on the first, memory of the second.
      try host.scratch.write("sys/class/kfd/kfd/proc/4242/queues/0/gpuid", "1001\n")
      try host.scratch.write("sys/class/drm/renderD129/device/mem_info_vram_used", "\(70_000 << 20)\n")
      let one = try await launcher.launch(spec("one", show, gpus: 1, environment: environment), files: [])
      #expect(one == .started)
      _ = try await launcher.end(of: "one")
      #expect(host.text("one", "stdout.log") == "2|||2\n")
      let none = try await launcher.launch(spec("none", show, environment: environment), files: [])
      #expect(none == .started)
      _ = try await launcher.end(of: "none")
      #expect(host.text("none", "stdout.log") == "|||\n")
      guard case .gpuBusy(let why) = try await launcher.launch(spec("two", show, gpus: 2), files: []) else {
        Issue.record("a GPU in use was given away")
        return
      }
      #expect(why.contains("70000 MiB of GPU 1"))
      try host.scratch.write("sys/class/drm/renderD129/device/mem_info_vram_used", "\(300 << 20)\n")
      guard case .gpuBusy(let who) = try await launcher.launch(spec("three", show, gpus: 3), files: []) else {
        Issue.record("a GPU in use was given away")
        return
      }
      #expect(who.contains("process 4242, which holds no lock, is on GPU 0"))
    }
  }

  @Test func `a stranger on an AMD GPU marks the run contended`() async throws {
    try await HostKind.local.with { host in
      let fake = FakeAMD(scratch: host.scratch)
      try fake.install()
      let launcher = host.launcher(gpus: nil, transport: PrefixedTransport(prefix: fake.prefix))
      _ = try await launcher.enrol()
      try host.patchScript(Self.looks)
      let stop = host.scratch.path("stop")
      let own =
        "d='\(host.scratch.path("sys/class/kfd/kfd/proc"))'/$$/queues/0; mkdir -p $d; echo 100$((ROLLCALL_GPUS + 1)) >$d/gpuid; "
      let command = own + "while [ ! -e '\(stop)' ]; do sleep 0.1; done"
      for attempt in ["clean", "shared"] {
        let outcome = try await launcher.launch(spec(attempt, command, gpus: 1), files: [])
        #expect(outcome == .started)
        try await until { host.text(attempt, "identity") != nil }
      }
      let other = ProcessInfo.processInfo.processIdentifier
      try host.scratch.write("sys/class/kfd/kfd/proc/\(other)/queues/3/gpuid", "1002\n")
      try await until { host.text("shared", "contended") != nil }
      try host.scratch.write("stop", "")
      let shared = try await launcher.end(of: "shared")
      #expect(shared.reason == "contended")
      let clean = try await launcher.end(of: "clean")
      #expect(clean.reason == nil)
    }
  }
}

/// What the kernel tells of three GPUs beside two processors.
private struct FakeAMD {
  let scratch: Scratch
  var prefix: String { "ROLLCALL_SYSFS='\(scratch.path("sys"))'; export ROLLCALL_SYSFS; " }

  func install() throws {
    for node in 0..<5 {
      let path = "sys/class/kfd/kfd/topology/nodes/\(node)"
      try scratch.write("\(path)/gpu_id", node < 2 ? "0\n" : "\(999 + node)\n")
      try scratch.write("\(path)/name", node < 2 ? "\n" : "gfx942\n")
      try scratch.write("\(path)/properties", "simd_count 304\ndrm_render_minor \(node < 2 ? 0 : 126 + node)\n")
    }
  }
}

private struct FakeNvidia {
  let scratch: Scratch
  var prefix: String { "PATH='\(scratch.path("bin"))':$PATH; export PATH; " }

  func install() throws {
    try scratch.write(
      "bin/nvidia-smi",
      """
      #!/bin/sh
      [ ! -e '\(scratch.path)/broken' ] || { cat '\(scratch.path)/broken'; exit 9; }
      [ ! -e '\(scratch.path)/slow' ] || sleep 30
      echo "$*" >>'\(scratch.path)/calls'
      [ "$1" != -i ] || { id=$2; shift 2; }
      case $1 in
      --query-gpu=uuid,name) printf 'GPU-aaaa, NVIDIA H200\\nGPU-bbbb, NVIDIA H200\\n' ;;
      --query-gpu=driver_version) printf '570.1\\n570.1\\n' ;;
      --query-gpu=uuid,memory.used)
        for id in GPU-aaaa GPU-bbbb; do
          echo "$id, $(cat '\(scratch.path)'/memory-"$id" 2>/dev/null || echo 4)"
        done ;;
      --query-compute-apps=gpu_uuid,pid)
        for id in GPU-aaaa GPU-bbbb; do
          sed "s/,.*//; s/^/$id, /" '\(scratch.path)'/apps-"$id" 2>/dev/null
        done ;;
      --query-compute-apps=pid,process_name) cat '\(scratch.path)'/apps-"$id" 2>/dev/null ;;
      *) exit 2 ;;
      esac

      """, permissions: 0o755)
  }
}
