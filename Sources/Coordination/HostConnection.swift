import Foundation
public import Launching
public import Planning
public import Transports

/// Errors of transports and launchers as the coordinator takes them: what waiting mends, and what a person must.
enum HostTrouble {
  static func of(_ error: any Error, host: String) -> TransportError {
    switch error {
    case let error as TransportError: error
    case let error as LaunchError:
      switch error.code {
      case .missingTool, .workdir, .badName:
        TransportError(code: .configuration, host: host, message: error.message)
      case .noReply, .noSpace, .absent, .alive: TransportError(code: .unreachable, host: host, message: error.message)
      }
    default: TransportError(code: .unreachable, host: host, message: "\(error)")
    }
  }
}

/// One host of the fleet as the coordinator holds it: its connection, its launcher, and what it said of itself.
public struct HostConnection: Sendable {
  public var host: Fleet.Host
  public var transport: any Transport
  public var launcher: any Launcher

  public init(host: Fleet.Host, transport: any Transport, launcher: any Launcher) {
    self.host = host
    self.transport = transport
    self.launcher = launcher
  }

  /// Opens nothing yet: connections are made at the first command.
  ///
  /// - Parameter supervisor: The words that start what leads plain runs on this machine, as `DetachedLauncher` has it.
  public static func connections(for fleet: Fleet, supervisor: [String]? = nil) -> [HostConnection] {
    fleet.hosts.map { host in
      let transport: any Transport =
        switch host.address {
        case .local: LocalTransport(name: host.name)
        case .ssh(let alias): SSHTransport(alias: alias, configurationFile: fleet.sshConfig, name: host.name)
        }
      if let slurm = host.slurm {
        return HostConnection(
          host: host, transport: transport,
          launcher: SlurmLauncher(
            transport: transport, workdir: host.workdir, options: SlurmLauncher.Options(slurm), name: host.name,
            patience: .seconds(fleet.answerWithin ?? 180)))
      }
      let gpus: Int? =
        switch host.gpus {
        case .auto: nil
        case .count(let count): count
        }
      return HostConnection(
        host: host, transport: transport,
        launcher: DetachedLauncher(
          transport: transport, workdir: host.workdir, leaseDir: host.leaseDir, gpus: gpus, name: host.name,
          patience: .seconds(fleet.answerWithin ?? 60), supervisor: host.address == .local ? supervisor : nil))
    }
  }
}

extension SlurmLauncher.Options {
  init(_ slurm: Fleet.Host.Slurm) {
    let words = [
      ("constraint", slurm.constraint), ("reservation", slurm.reservation),
    ].compactMap { name, value in value.map { "--\(name)=\($0)" } }
    self.init(
      words: words + slurm.options, partition: slurm.partition, account: slurm.account, qos: slurm.qos,
      gpuType: slurm.gpuType, usesGres: slurm.usesGres, usesArrays: slurm.arrays ?? true,
      arrayThrottle: slurm.arrayThrottle)
  }
}
