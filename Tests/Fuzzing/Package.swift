// swift-tools-version: 6.3
import PackageDescription

// Apart from the root package: all of it is built with the instruments of libFuzzer (see the script `fuzz`).
let features: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]
let package = Package(
  name: "Fuzzing",
  dependencies: [.package(name: "rollcall", path: "../..")],
  targets: [
    .executableTarget(
      name: "Fuzz", dependencies: [.product(name: "RollcallInputs", package: "rollcall")], swiftSettings: features,
      // The other linkers give up on libFuzzer's archive.
      linkerSettings: [.unsafeFlags(["-use-ld=lld"])])
  ]
)
