import Foundation
import OrderedCollections
import Planning
import TestSupport
import Testing

@Suite struct FleetTests {
  @Test func exclusiveHostsAndAddressesAreReadAndOldFleetsStayReadable() throws {
    let fleet = try FleetReader.read(
      text: "hosts: [{name: a, local: true, exclusive: true, address: 10.0.0.7}, {name: b, ssh: b}]", path: "fleet.yaml"
    )
    #expect(fleet.hosts.map(\.isExclusive) == [true, false])
    #expect(fleet.hosts.map(\.networkAddress) == ["10.0.0.7", nil])
    let again = try JSONDecoder().decode(Fleet.self, from: JSONEncoder().encode(fleet))
    #expect(again == fleet)
    // As a store has it that was written before these keys.
    var old = try #require(
      try JSONSerialization.jsonObject(with: JSONEncoder().encode(fleet.hosts[1])) as? [String: Any])
    old["isExclusive"] = nil
    let host = try JSONDecoder().decode(Fleet.Host.self, from: JSONSerialization.data(withJSONObject: old))
    #expect(host == fleet.hosts[1])
    #expect(
      Self.problems("hosts: [{name: a, local: true, address: 'x; rm -rf'}]").contains { $0.contains("IP address") })
  }

  static func problems(_ text: String) -> [String] {
    do {
      _ = try FleetReader.read(text: text, path: "fleet.yaml")
      return []
    } catch {
      return error.problems.map { "\($0.line):\($0.column): \($0.message)" + ($0.suggestion.map { " [\($0)]" } ?? "") }
    }
  }

  @Test func howLongAHostMayBeSilentIsRead() throws {
    let hosts = "hosts: [{name: a, local: true}]"
    #expect(try FleetReader.read(text: "\(hosts)\nlost_after: 10m", path: "f").lostAfter == 600)
    #expect(try FleetReader.read(text: "launcher: slurm\nlost_after: 45", path: "f").lostAfter == 45)
    #expect(try FleetReader.read(text: hosts, path: "f").lostAfter == nil)
    #expect(throws: PlanningError.self) { try FleetReader.read(text: "\(hosts)\nlost_after: soon", path: "f") }
    #expect(try FleetReader.read(text: "\(hosts)\nanswer_within: 5s", path: "f").answerWithin == 5)
    #expect(throws: PlanningError.self) { try FleetReader.read(text: "\(hosts)\nanswer_within: 0s", path: "f") }
  }

  @Test func readsAFleet() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let path = try scratch.write(
      "fleet.yaml",
      """
      ssh_config: ssh.config
      hosts:
        - name: gpu1
          ssh: gpu1.alias
          gpus: 8
          labels: {gpu: h200, rack: 4, fast: true}
          workdir: /scratch/rollcall
          lease_dir: /var/lock/rollcall
          cpu_slots: 4
        - {name: gpu2, ssh: gpu2, gpus: auto}
        - {name: here, local: true, workdir: ~/x}
      """)
    let fleet = try FleetReader.read(path: path)
    #expect(fleet.sshConfig == scratch.path + "/ssh.config")
    #expect(
      fleet.hosts == [
        Fleet.Host(
          name: "gpu1", address: .ssh("gpu1.alias"), gpus: .count(8), cpuSlots: 4,
          labels: ["gpu": "h200", "rack": "4", "fast": "true"], workdir: "/scratch/rollcall",
          leaseDir: "/var/lock/rollcall"),
        Fleet.Host(name: "gpu2", address: .ssh("gpu2")),
        Fleet.Host(name: "here", address: .local, workdir: "~/x"),
      ])
    #expect(fleet.hosts[1].workdir == "~/.rollcall")
    #expect(fleet.hosts[1].leaseDir == "/tmp/rollcall-leases")
    #expect(fleet.hosts[1].gpus == .auto)
  }

  @Test func readsACluster() throws {
    let text = """
      launcher: slurm
      name: alps
      submit: login.alps
      partition: gpu
      account: inference
      qos: low
      constraint: h200&nvlink
      reservation: tuesday
      gpu_type: h200
      gres: true
      exclusive: true
      sbatch: [--mem=0, --cpus-per-gpu=12]
      max_jobs: 64
      arrays: false
      array_throttle: 16
      poll: 2.5
      scratch: /local/me/
      labels: {gpu: h200}
      env: {CUDA_HOME: /opt/cuda}
      workdir: /lustre/me/rollcall
      """
    let fleet = try FleetReader.read(text: text, path: "fleet.yaml")
    let slurm = Fleet.Host.Slurm(
      partition: "gpu", account: "inference", qos: "low", constraint: "h200&nvlink", reservation: "tuesday",
      gpuType: "h200", usesGres: true, options: ["--mem=0", "--cpus-per-gpu=12"], maxJobs: 64, poll: 2.5,
      scratch: "/local/me", arrays: false, arrayThrottle: 16)
    let host = Fleet.Host(
      name: "alps", address: .ssh("login.alps"), gpus: .count(0), cpuSlots: 64, labels: ["gpu": "h200"],
      env: ["CUDA_HOME": "/opt/cuda"], workdir: "/lustre/me/rollcall", isExclusive: true, slurm: slurm)
    #expect(fleet == Fleet(hosts: [host]))
    #expect(fleet.isCluster)
    let again = try JSONDecoder().decode(Fleet.self, from: JSONEncoder().encode(fleet))
    #expect(again == fleet)
    let short = try FleetReader.read(text: "launcher: slurm", path: "fleet.yaml")
    #expect(short.hosts.map(\.name) == ["slurm"])
    #expect(short.hosts.map(\.address) == [.local])
    #expect(short.hosts.map(\.workdir) == ["~/.rollcall"])
    #expect(!FleetReader.thisMachine().isCluster)
  }

  @Test func theExampleOfAClusterIsRead() throws {
    let root = URL(fileURLWithPath: #filePath)
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
    let fleet = try FleetReader.read(path: root + "/Deploy/examples/fleet-slurm.yaml")
    #expect(fleet.hosts.map(\.slurm?.maxJobs) == [200])
  }

  @Test func withoutAFleetFileThereIsThisMachine() {
    #expect(FleetReader.thisMachine() == Fleet(hosts: [Fleet.Host(name: "local", address: .local)]))
  }

  @Test(
    arguments: [
      ("hosts: []\n", ["1:8: expected a list of at least 1, found 0"]),
      ("ssh_config: x\n", ["1:1: `fleet file` needs the key `hosts`"]),
      ("host: []\n", ["1:1: `fleet file` needs the key `hosts`", "1:1: unknown key `host` in `fleet file` [hosts]"]),
      ("hosts: [{ssh: a}]\n", ["1:9: `host` needs the key `name`"]),
      ("hosts: [{name: a}]\n", ["1:9: a host has either `ssh: <alias>` or `local: true`"]),
      ("hosts: [{name: a, local: false}]\n", ["1:9: a host has either `ssh: <alias>` or `local: true`"]),
      ("hosts: [{name: a, ssh: b, local: true}]\n", ["1:9: a host has either `ssh: <alias>` or `local: true`"]),
      ("hosts: [{name: a, local: yes}]\n", ["1:26: expected true or false, found the text \"yes\""]),
      ("hosts: [{name: a, ssh: b}, {name: a, ssh: c}]\n", ["1:35: two hosts are named a"]),
      ("hosts: [{name: a, ssh: -oProxyCommand=x}]\n", ["1:24: `ssh` must be a host alias"]),
      (
        "hosts: [{name: a, ssh: b, gpus: some}]\n",
        ["1:33: expected auto or a number from 0 to 4096, found the text \"some\""]
      ),
      (
        "hosts: [{name: a, ssh: b, workdir: x, lease_dir: /a/../b}]\n",
        [
          "1:36: `workdir` must be an absolute path or begin with ~/, without ..",
          "1:50: `lease_dir` must be an absolute path or begin with ~/, without ..",
        ]
      ),
      ("hosts: [{name: a, ssh: b, label: {}}]\n", ["1:27: unknown key `label` in `host` [labels]"]),
      (
        "partition: gpu\nmax_jobs: 3\narray_throttle: 2\nhosts: [{name: a, local: true}]\n",
        [
          "1:1: `partition`, `max_jobs`, `array_throttle`: at this level for `launcher: slurm` only; each of `hosts` has its own"
        ]
      ),
      (
        "launcher: slurm\nhosts: [{name: a, local: true}]\n",
        ["2:8: with `launcher: slurm` the cluster places the runs; take out `hosts`"]
      ),
      (
        "launcher: slurm\nsubmit: -oX\nmax_jobs: 0\npartition: a b\nworkdir: here\nscratch: ~/x\n",
        [
          "2:9: `submit` must be local or the ssh alias of the login node",
          "3:11: expected a whole number from 1 to 100000, found the number 0",
          "4:12: `partition` must be one word, as sbatch takes it",
          "5:10: `workdir` must be an absolute path or begin with ~/, without ..",
          "6:10: `scratch` must be an absolute path without ..",
        ]
      ),
      (
        "launcher: slurm\nsbatch: [-n2, --job-name=x, --part=gpu, --requeue, --mem=0, --time=5]\n",
        [
          "2:9: an option of `sbatch` is written --name or --name=value, not -n2",
          "2:9: the option --job-name=x of `sbatch` cannot be given; Rollcall sets it itself",
          "2:9: the option --part=gpu of `sbatch` cannot be given; use the key `partition`",
          "2:9: the option --requeue of `sbatch` cannot be given; Rollcall sets it itself",
          "2:9: the option --time=5 of `sbatch` cannot be given; use the key `timeout` of the job's `run`",
        ]
      ),
      ("launcher: slurm\npartitions: gpu\n", ["2:1: unknown key `partitions` in `fleet file` [partition]"]),
    ])
  func refuses(text: String, said: [String]) {
    #expect(Self.problems(text) == said)
  }
}
