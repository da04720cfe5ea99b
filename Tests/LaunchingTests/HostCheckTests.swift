import Foundation
import Glibc
import Launching
import TestSupport
import Testing
import Transports

/// `check`: what a host tells of its GPUs, locks and processes. The GPU tools are stand-ins that print what the real
/// ones print.
@Suite(.timeLimit(.minutes(4)))
struct HostCheckTests {
  @Test(arguments: [0, 3600, -3600])
  func `a login that takes its time is no clock that is off`(seconds: Int) async throws {
    try await HostKind.local.with { host in
      try host.scratch.write(
        "bin/date",
        """
        #!/bin/sh
        [ "$1" = +%s.%N ] && [ \(seconds) != 0 ] || exec /bin/date "$@"
        echo $(($(/bin/date +%s) + \(seconds))).000000000

        """, permissions: 0o755)
      let bin = host.scratch.path("bin")
      let slow = PrefixedTransport(prefix: "sleep 1; PATH='\(bin)':$PATH; export PATH; ")
      let offset = try await host.launcher(transport: slow).enrol().clockOffset
      if seconds == 0 { #expect(offset == 0) } else { #expect(abs(offset - Double(seconds)) < 60) }
    }
  }

  @Test func `NVIDIA: a run's processes are ours, another one is a stranger, and the lock names its attempt`()
    async throws
  {
    try await HostKind.local.with { host in
      try host.scratch.write(
        "bin/nvidia-smi",
        """
        #!/bin/sh
        [ "$1" != -i ] || shift 2
        case $1 in
        --query-gpu=uuid,name) printf 'GPU-aaaa, NVIDIA H200\\nGPU-bbbb, NVIDIA H200\\n' ;;
        --query-gpu=driver_version) printf '570.1\\n570.1\\n' ;;
        --query-gpu=uuid,memory.used) printf 'GPU-aaaa, 4\\nGPU-bbbb, 70000\\n' ;;
        --query-gpu=uuid,memory.used,*)
          printf 'GPU-aaaa, 4, 143771, 0, NVIDIA H200\\nGPU-bbbb, 70000, 143771, 97, NVIDIA H200\\n' ;;
        --query-compute-apps=pid) ;;
        --query-compute-apps=gpu_uuid,*)
          [ ! -e '\(host.scratch.path)/own' ] || printf 'GPU-aaaa, %s, 512, python3\\n' "$(cat '\(host.scratch.path)/own')"
          printf 'GPU-bbbb, \(getpid()), 69000, /usr/bin/other \\033[31m, with a comma\\n' ;;
        *) exit 2 ;;
        esac

        """, permissions: 0o755)
      let transport = PrefixedTransport(prefix: "PATH='\(host.scratch.path("bin"))':$PATH; export PATH; ")
      let launcher = host.launcher(gpus: nil, transport: transport)
      let command = "echo $$ > '\(host.scratch.path("own"))'; sleep 300"
      let outcome = try await launcher.launch(spec("a1", command, gpus: 1), files: [])
      #expect(outcome == .started)
      try await until { host.scratch.text("own")?.hasSuffix("\n") == true }

      let told = try await launcher.examine()
      #expect(told.tool == "nvidia-smi")
      let kind = try await runTool("stat", ["-f", "-c", "%T", host.workdir]).output
      #expect(told.fileSystem == kind.trimmingCharacters(in: .newlines))
      #expect(told.troubles == [])
      #expect(told.gpus.map(\.id) == ["GPU-aaaa", "GPU-bbbb"])
      #expect(told.gpus.map(\.usedBytes) == [4 << 20, 70_000 << 20])
      #expect(told.gpus.map(\.utilisation) == [0, 97])
      #expect(told.gpus[0].processes.map(\.attempt) == ["a1"])
      let stranger = try #require(told.gpus[1].processes.first)
      #expect(stranger.isForeign)
      #expect(stranger.pid == Int(getpid()))
      #expect(stranger.name == "/usr/bin/other [31m, with a comma", "what a terminal obeys is gone")
      #expect(stranger.memoryBytes == 69_000 << 20)
      let held = told.leases.filter { $0.state == .held }
      #expect(held.map(\.name) == ["gpu-GPU-aaaa"])
      #expect(told.leases.first { $0.name == "host" }?.state == .shared)
      #expect(held.first { $0.name == "gpu-GPU-aaaa" }?.attempt == "a1")
      #expect(held.first { $0.name == "gpu-GPU-aaaa" }?.workdir == host.workdir)
      #expect((told.totalMemory ?? 0) > (told.availableMemory ?? .max) / 2)

      try await launcher.stop("a1", reason: "cancelled")
      let record = try await launcher.end(of: "a1")
      #expect(record.environment?["gpu"] == "NVIDIA H200")
      #expect(record.environment?["gpu_driver"] == "570.1")
      let after = try await launcher.examine()
      #expect(after.leases.allSatisfy { $0.state == .free })
    }
  }

  @Test(
    arguments: [
      ("true", #"as 1 "nobody""#, "as 0", true), ("false", #"as 1 "nobody""#, "as 0", false),
      ("true", #"as 2 "nobody" "ME""#, "as 0", false), ("true", "as 0", #"as 1 "ME""#, true),
      ("true", "as 0", #"as 1 "somebody""#, false),
    ])
  func `a login that systemd ends with all of its processes is told`(
    kills: String, spared: String, only: String, isEnded: Bool
  ) async throws {
    try await HostKind.local.with { host in
      let user = try await runTool("id", ["-un"]).output.trimmingCharacters(in: .newlines)
      // As busctl prints them.
      let rules = (["b \(kills)"] + [spared, only].map { $0.replacing("ME", with: user) }).joined(separator: "\n")
      try host.scratch.write("rules", rules + "\n")
      try host.scratch.write(
        "bin/busctl", "#!/bin/sh\n[ \"$1\" = get-property ] && exec cat '\(host.scratch.path("rules"))'\n",
        permissions: 0o755)
      func facts(session: String) async throws -> HostFacts {
        let prefix = "PATH='\(host.scratch.path("bin"))':$PATH XDG_SESSION_ID=\(session); export PATH XDG_SESSION_ID; "
        return try await host.launcher(transport: PrefixedTransport(prefix: prefix)).enrol()
      }
      #expect(try await facts(session: "7").endedAtLogout == (isEnded ? user : nil))
      // No login that systemd knows of.
      #expect(try await facts(session: "''").endedAtLogout == nil)
    }
  }

  @Test func `what nvidia-smi says in the place of a GPU is told, though it calls that a success`() async throws {
    try await HostKind.local.with { host in
      try host.scratch.write(
        "bin/nvidia-smi",
        """
        #!/bin/sh
        case $1 in
        --query-gpu=uuid,memory.used,*)
          printf 'GPU-aaaa, 4, 143771, 0, NVIDIA H200\\nUnable to determine the device handle for GPU 0000:01:00.0\\n' ;;
        esac

        """, permissions: 0o755)
      let transport = PrefixedTransport(prefix: "PATH='\(host.scratch.path("bin"))':$PATH; export PATH; ")
      let told = try await host.launcher(gpus: nil, transport: transport).examine()
      #expect(told.gpus.map(\.id) == ["GPU-aaaa"])
      #expect(
        told.troubles == [
          "nvidia: it says Unable to determine the device handle for GPU 0000:01:00.0 in the place of a GPU"
        ])
    }
  }

  @Test func `a tool that fails is named, not taken for a host without processes`() async throws {
    try await HostKind.local.with { host in
      try host.scratch.write(
        "bin/nvidia-smi", "#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n",
        permissions: 0o755)
      let transport = PrefixedTransport(prefix: "PATH='\(host.scratch.path("bin"))':$PATH; export PATH; ")
      let told = try await host.launcher(gpus: nil, transport: transport).examine()
      #expect(told.gpus.isEmpty)
      #expect(told.troubles.count == 2)
      #expect(told.troubles.allSatisfy { $0.contains("version mismatch") })
    }
  }

  @Test func `amd-smi's tables are read by the names of their columns`() async throws {
    try await HostKind.local.with { host in
      try host.scratch.write(
        "bin/amd-smi",
        """
        #!/bin/sh
        case $1 in
        static) printf 'gpu,market_name,vendor_id\\n0,AMD Instinct MI300X,0x1002\\n1,AMD Instinct MI300X,0x1002\\n' ;;
        metric) printf 'gpu,total_vram,used_vram,free_vram\\n0,196592,283,196309\\n1,196592,150000,46592\\n' ;;
        process) printf 'gpu,name,pid,gtt_mem,cpu_mem,vram_mem\\n1,python3,\(getpid()),2097152,0,157286400000\\n' ;;
        *) exit 2 ;;
        esac

        """, permissions: 0o755)
      let prefix = "PATH='\(host.scratch.path("bin"))':$PATH; export PATH; "
      let told = try await host.launcher(gpus: nil, transport: PrefixedTransport(prefix: prefix)).examine()
      #expect(told.tool == "amd-smi")
      #expect(told.gpus.map(\.name) == ["AMD Instinct MI300X", "AMD Instinct MI300X"])
      #expect(told.gpus.map(\.usedBytes) == [283 << 20, 150_000 << 20])
      #expect(told.gpus.map { $0.processes.count } == [0, 1])
      #expect(told.gpus[1].processes.first?.isForeign == true)
      #expect(told.gpus[1].processes.first?.memoryBytes == 157_286_400_000)
    }
  }

  @Test func `rocm-smi tells cards and processes, though not which is on which`() async throws {
    try await HostKind.local.with { host in
      try host.scratch.write(
        "bin/rocm-smi",
        """
        #!/bin/sh
        case "$*" in
        *--showmeminfo*)
          printf 'device,VRAM Total Memory (B),VRAM Total Used Memory (B),Card Series,Card Model\\n'
          printf 'card0,206141652992,297058304,AMD Instinct MI300X OAM,0x74a1\\n' ;;
        *--showpids*)
          printf '\\n======= ROCm System Management Interface =======\\nKFD process information:\\n'
          printf 'PID\\tPROCESS NAME\\tGPU(s)\\tVRAM USED\\tSDMA USED\\tCU OCCUPANCY\\n'
          printf '\(getpid())\\tpython3\\t1\\t120000000\\t0\\t0\\n' ;;
        *) exit 2 ;;
        esac

        """, permissions: 0o755)
      let transport = PrefixedTransport(prefix: "PATH='\(host.scratch.path("bin"))':$PATH; export PATH; ")
      let told = try await host.launcher(gpus: nil, transport: transport).examine()
      #expect(told.tool == "rocm-smi")
      #expect(told.gpus.map(\.name) == ["AMD Instinct MI300X OAM"])
      #expect(told.gpus.first?.usedBytes == 297_058_304)
      #expect(told.unplaced.map(\.pid) == [Int(getpid())])
      #expect(told.unplaced.first?.memoryBytes == 120_000_000)
    }
  }

  @Test func `a process that is left behind outlives the connection, and is ended by the second look`() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch) { server in
        func launcher(_ transport: any Transport) -> DetachedLauncher {
          DetachedLauncher(
            transport: transport, workdir: scratch.path("work"), leaseDir: scratch.path("leases"), gpus: 0, name: "h")
        }
        let first = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
        let sleeper = try await launcher(first).leaveSleeper()
        await first.close()
        let second = SSHTransport(alias: server.alias, configurationFile: server.configurationFile)
        let survives = try await launcher(second).endSleeper(sleeper)
        #expect(survives)
        let isGone = try await launcher(second).endSleeper(sleeper) == false
        #expect(isGone)
        await second.close()
      }
    }
  }
}
