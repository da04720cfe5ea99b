import OrderedCollections

/// Reads fleet files.
public enum FleetReader {
  /// - Throws: `PlanningError` with every problem that was found.
  public static func read(path: String) throws(PlanningError) -> Fleet {
    try read(text: YAMLFile.read(path), path: path)
  }

  /// - Throws: `PlanningError` with every problem that was found.
  public static func read(text: String, path: String) throws(PlanningError) -> Fleet {
    let file = try YAMLFile(text: text, name: path)
    var reading = Reading()
    let fleet = FleetKeys.shape.read(file.root, &reading)
    try reading.throwIfAny(file: path)
    guard var fleet else {
      throw PlanningError(
        code: .invalid, file: path, problems: [.init(line: 1, column: 1, path: "", message: "is not a fleet file")])
    }
    if let config = fleet.sshConfig, !config.hasPrefix("/"), !config.hasPrefix("~/") {
      fleet.sshConfig = Planner.baseDirectory(of: path) + "/" + config
    }
    return fleet
  }

  /// The fleet without a fleet file: this machine alone.
  public static func thisMachine(
    gpus: Fleet.Host.GPUs = .auto, cpuSlots: Int = 1, workdir: String = Fleet.Host.defaultWorkdir,
    leaseDir: String = Fleet.Host.defaultLeaseDir
  ) -> Fleet {
    Fleet(hosts: [
      Fleet.Host(
        name: "local", address: .local, gpus: gpus, cpuSlots: cpuSlots, workdir: workdir, leaseDir: leaseDir)
    ])
  }
}

/// The keys of a fleet file.
struct FleetKeys: KeyTable {
  let title = "fleet file"
  let hosts = Key("hosts", .list(of: HostKeys.shape, minimum: 1), "The hosts.")
  let sshConfig = Key(
    "ssh_config", .text, "An ssh configuration file, relative to this file, in place of ~/.ssh/config.")
  let lostAfter = Key(
    "lost_after", .duration,
    "How long a host may be silent before its runs count as lost and are tried elsewhere; default 30m, of a "
      + "cluster 24h.")
  let answerWithin = Key(
    "answer_within", .duration,
    "How long a host may take to say how its runs stand before it counts as unreachable; default 1m, of a "
      + "cluster 3m.")
  let launcher = Key("launcher", .word(["detached", "slurm"]), "detached (default), or slurm.")
  let submit = Key("submit", .text, "For slurm: local (default), or the ssh alias of the login node.")
  let clusterName = Key("name", JobKeys.nameShape, "For slurm: what the cluster is called here; default slurm.")
  let partition = Key("partition", .text, "For slurm: --partition.")
  let account = Key("account", .text, "For slurm: --account.")
  let qos = Key("qos", .text, "For slurm: --qos.")
  let constraint = Key("constraint", .text, "For slurm: --constraint.")
  let reservation = Key("reservation", .text, "For slurm: --reservation.")
  let gpuType = Key("gpu_type", .text, "For slurm: the type of GPU, as in --gpus-per-node=TYPE:8.")
  let gres = Key("gres", .boolean, "For slurm, true: GPUs are asked for by --gres=gpu:8, not --gpus-per-node=8.")
  let exclusive = Key("exclusive", .boolean, "For slurm, true: a job has its nodes for itself.")
  let sbatch = Key("sbatch", .list(of: .text), "For slurm: further options of sbatch, each as --name=value.")
  let maxJobs = Key(
    "max_jobs", .integer(1...100_000), "For slurm: jobs that wait or run at a time; default 500.")
  let arrays = Key(
    "arrays", .boolean,
    "For slurm, false: each run is a job by itself, even where hundreds of one shape are submitted at once.")
  let arrayThrottle = Key(
    "array_throttle", .integer(1...100_000), "For slurm: runs of one array that run at a time; default: all.")
  let poll = Key(
    "poll", .number(0.2...3600),
    "For slurm: seconds between two looks at the queue right after something happened; default 5.")
  let labels = Key("labels", .dictionary(of: .axisValue), "For slurm: what `run.hosts` selects by.")
  let env = Key(
    "env", .dictionary(of: .variable, keyPattern: EnvironmentName.pattern, checkKey: EnvironmentName.checkSyntax),
    "For slurm: environment variables of every run; the job's own win.")
  let workdir = Key(
    "workdir", .text,
    "For slurm: where attempts live, on a file system that the nodes share with the login node; default ~/.rollcall.")

  let scratch = Key(
    "scratch", .text,
    "For slurm: where dumps lie while a run goes on, on the own disk of each node; copied to `workdir` at its end.")

  var keys: [AnyKey] {
    let words = [clusterName, submit, partition, account, qos, constraint, reservation, gpuType, workdir, scratch]
    return [hosts.erased, sshConfig.erased, lostAfter.erased, answerWithin.erased, launcher.erased]
      + words.map(\.erased)
      + [gres.erased, exclusive.erased, sbatch.erased, maxJobs.erased, arrays.erased, arrayThrottle.erased]
      + [poll.erased, labels.erased, env.erased]
  }

  static var shape: Shape<Fleet> {
    .object(FleetKeys()) { fields, keys, reading in
      let lostAfter = fields(keys.lostAfter, &reading)
      let answerWithin = fields(keys.answerWithin, &reading)
      var fleet = keys.fleet(fields, &reading)
      fleet?.lostAfter = lostAfter
      fleet?.answerWithin = answerWithin
      return fleet
    }
  }

  private func fleet(_ fields: Fields, _ reading: inout Reading) -> Fleet? {
    let launcher = fields(self.launcher, &reading)
    if launcher == "slurm" { return cluster(fields, &reading) }
    refuseClusterKeys(fields, &reading)
    let hosts = fields(self.hosts, &reading)
    let sshConfig = fields(self.sshConfig, &reading)
    guard fields.has(self.hosts) else {
      reading.report(fields.value.place, "`\(title)` needs the key `\(self.hosts.name)`")
      return nil
    }
    if case .list(let items) = fields.value[self.hosts.name]?.content {
      var seen: Set<String> = []
      for item in items {
        guard let name = item["name"], case .scalar(let scalar) = name.content else { continue }
        if !seen.insert(scalar.text).inserted {
          reading.report(name.place, "two hosts are named \(scalar.text.shortened)")
        }
      }
    }
    return hosts.map { Fleet(hosts: $0, sshConfig: sshConfig) }
  }
}

/// The keys of one host.
struct HostKeys: KeyTable {
  let title = "host"
  let name = Key(
    "name", JobKeys.nameShape, required: true, "The host's name: letters, digits, dot, dash and underscore.")
  let ssh = Key("ssh", .text, "An alias, resolved through the user's own ssh configuration.")
  let local = Key("local", .boolean, "true: this machine.")
  let gpus = Key("gpus", gpusShape, "auto (default: ask the host), or how many.")
  let cpuSlots = Key("cpu_slots", .integer(0...4_096), "Runs without GPU at a time; default 1.")
  let labels = Key("labels", .dictionary(of: .axisValue), "What `run.hosts` selects by.")
  let env = Key(
    "env", .dictionary(of: .variable, keyPattern: EnvironmentName.pattern, checkKey: EnvironmentName.checkSyntax),
    "Environment variables of every run on this host; the job's own win.")
  let workdir = Key("workdir", .text, "Where attempts live; default ~/.rollcall.")
  let leaseDir = Key(
    "lease_dir", .text, "One lock file a GPU, shared by all coordinators; default /tmp/rollcall-leases.")
  let exclusive = Key("exclusive", .boolean, "true: one run at a time has the host for itself.")
  let address = Key(
    "address", .text, "What the other hosts reach it by (MASTER_ADDR of a gang); default: what it calls itself.")

  var keys: [AnyKey] {
    [
      name.erased, ssh.erased, local.erased, gpus.erased, cpuSlots.erased, labels.erased, env.erased,
      workdir.erased, leaseDir.erased, exclusive.erased, address.erased,
    ]
  }

  static var shape: Shape<Fleet.Host> {
    .object(HostKeys()) { fields, keys, reading in
      let name = fields(keys.name, &reading)
      let ssh = fields(keys.ssh, &reading)
      let local = fields(keys.local, &reading)
      let gpus = fields(keys.gpus, &reading) ?? .auto
      let cpuSlots = fields(keys.cpuSlots, &reading) ?? 1
      let labels = fields(keys.labels, &reading) ?? [:]
      let env = environment(fields, keys.env, &reading)
      let workdir = directory(fields, keys.workdir, &reading) ?? Fleet.Host.defaultWorkdir
      let leaseDir = directory(fields, keys.leaseDir, &reading) ?? Fleet.Host.defaultLeaseDir
      let exclusive = fields(keys.exclusive, &reading) ?? false
      let networkAddress = fields(keys.address, &reading)
      if let networkAddress, !isNetworkAddress(networkAddress) {
        reading.report(fields.place(keys.address), "`address` must be a host name or an IP address")
      }
      if let ssh, ssh.hasPrefix("-") || ssh.contains(where: \.isWhitespace) {
        reading.report(fields.place(keys.ssh), "`ssh` must be a host alias")
      }
      let address: Fleet.Host.Address
      switch (ssh, local) {
      case (let alias?, nil), (let alias?, false?): address = .ssh(alias)
      case (nil, true?): address = .local
      default:
        if fields.has(keys.ssh) == (ssh != nil), fields.has(keys.local) == (local != nil) {
          reading.report(fields.value.place, "a host has either `ssh: <alias>` or `local: true`")
        }
        return nil
      }
      guard let name else { return nil }
      return Fleet.Host(
        name: name, address: address, gpus: gpus, cpuSlots: cpuSlots, labels: labels.mapValues(\.description),
        env: env, workdir: workdir, leaseDir: leaseDir,
        isExclusive: exclusive, networkAddress: networkAddress)
    }
  }

  private static func isNetworkAddress(_ text: String) -> Bool {
    (1...253).contains(text.utf8.count) && !text.hasPrefix("-")
      && text.unicodeScalars.allSatisfy { scalar in
        scalar.isASCII
          && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil
            || ".-:_%".unicodeScalars.contains(scalar))
      }
  }

  static func environment(
    _ fields: Fields, _ key: Key<OrderedDictionary<String, AxisValue>>, _ reading: inout Reading
  ) -> OrderedDictionary<String, String> {
    let values = (fields(key, &reading) ?? [:]).mapValues(\.environmentText)
    reading.checkSize(
      of: values.values, limit: RunSpec.longestHostTexts, "the values of `\(key.name)`", fields.place(key))
    return values
  }

  static func directory(_ fields: Fields, _ key: Key<String>, _ reading: inout Reading) -> String? {
    guard let path = fields(key, &reading) else { return nil }
    guard path.hasPrefix("/") || path.hasPrefix("~/"), !path.split(separator: "/").contains("..") else {
      reading.report(fields.place(key), "`\(key.name)` must be an absolute path or begin with ~/, without ..")
      return nil
    }
    return path
  }

  private static var gpusShape: Shape<Fleet.Host.GPUs> {
    .scalar(
      expects: "auto or a number from 0 to 4096",
      schema: .object([
        (
          "anyOf",
          .array([
            .object([("const", .string("auto"))]),
            .object([("type", .string("integer")), ("minimum", .int(0)), ("maximum", .int(4_096))]),
          ])
        )
      ])
    ) { scalar in
      if scalar.text == "auto" { return .auto }
      guard case .number = scalar.meaning, let count = Int(scalar.text), (0...4_096).contains(count) else { return nil }
      return .count(count)
    }
  }
}
