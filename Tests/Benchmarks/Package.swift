// swift-tools-version: 6.3
import PackageDescription

// Apart from the root package, so that nobody who builds Rollcall builds this.
let features: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]
let package = Package(
  name: "Benchmarks",
  dependencies: [
    .package(name: "rollcall", path: "../.."),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
  ],
  targets: [
    .executableTarget(
      name: "Benchmarks", dependencies: [.product(name: "RollcallNumbers", package: "rollcall")],
      swiftSettings: features),
    // Over hosts: gather, overhead, fanout.
    .executableTarget(
      name: "HostBenchmarks", dependencies: [.product(name: "RollcallHosts", package: "rollcall")],
      swiftSettings: features),
    // The coordinator's state machine, which is nobody else's: built with -enable-testing.
    .executableTarget(
      name: "CoreBenchmark",
      dependencies: [
        .product(name: "RollcallCoordination", package: "rollcall"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: features),
  ]
)
