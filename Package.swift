// swift-tools-version: 6.3
import PackageDescription

// A folder under Sources/ is a target only if it confines a dependency, forbids an import, needs its own
// compiler flags, or is a stage of the pipeline that people look up by name. Two halves never import each
// other: Ledger, Transports, Launching, Gathering (the world) and Dumps … Diagnosis (the numbers). They meet
// in Coordination.

// Loops over every byte and simulated years: optimised in debug builds, too, or the tests take minutes.
let optimised = SwiftSetting.unsafeFlags(["-O"], .when(configuration: .debug))

// The loops of TensorKernels once more, for wider registers; chosen when they run, by what the processor has.
#if arch(x86_64)
  let hasWideTwins: [SwiftSetting] = [.define("WIDE_TWINS")]
  let wideTwins: [Target] = [
    .target(
      name: "TensorKernelsAVX2", dependencies: ["CKernels", "TensorLanes"],
      swiftSettings: [optimised, .unsafeFlags(["-Xcc", "-mavx2", "-Xcc", "-mfma", "-Xcc", "-mf16c"])]),
    .target(
      name: "TensorKernelsAVX512", dependencies: ["CKernels", "TensorLanes"],
      swiftSettings: [optimised, .unsafeFlags(["-Xcc", "-march=x86-64-v4"])]),
  ]
#else
  let hasWideTwins: [SwiftSetting] = []
  let wideTwins: [Target] = []
#endif

let package = Package(
  name: "rollcall",
  products: [
    .executable(name: "rollcall", targets: ["rollcall"]),
    // What the benchmarks call.
    .library(name: "RollcallNumbers", targets: ["TensorKernels", "Dumps", "Alignment", "Comparison"]),
    // What the fuzzer tries.
    .library(name: "RollcallInputs", targets: ["Dumps", "Planning"]),
    .library(
      name: "RollcallHosts",
      targets: ["Transports", "Launching", "Gathering", "Scheduling", "Ledger", "Planning"]),
    .library(
      name: "RollcallCoordination",
      targets: ["Coordination", "Launching", "Ledger", "Planning", "Scheduling", "Transports"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
  ],
  targets: [
    // The command line: composes and prints.
    .executableTarget(
      name: "rollcall",
      dependencies: [
        "Coordination", "Planning", "Scheduling", "Ledger", "Transports", "Launching", "Gathering",
        "Dumps", "Alignment", "Comparison", "Diagnosis", "Playbooks", "Reporting", "Dashboard",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ]),
    .target(
      name: "Coordination",
      dependencies: [
        "Planning", "Scheduling", "Ledger", "Transports", "Launching", "Gathering",
        "Dumps", "Alignment", "Comparison", "Diagnosis", "Playbooks", "Reporting",
        .product(name: "BitCollections", package: "swift-collections"),
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: [optimised]),

    // From the job file to placements: pure.
    .target(
      name: "Planning",
      dependencies: [
        // For the grammar of dims text in shard rules.
        "Alignment",
        .product(name: "Yams", package: "Yams"),
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "Crypto", package: "swift-crypto"),
      ]),
    .target(
      name: "Scheduling",
      dependencies: [
        "Planning", .product(name: "BitCollections", package: "swift-collections"),
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "HeapModule", package: "swift-collections"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: [optimised]),

    // The world: database, hosts, files.
    .target(
      name: "Ledger",
      dependencies: ["Scheduling", "Planning", .product(name: "GRDB", package: "GRDB.swift")],
      resources: [.embedInCode("Migrations")]),
    .systemLibrary(name: "CLibSSH", pkgConfig: "libssh", providers: [.apt(["libssh-dev"])]),
    .target(
      name: "Transports",
      dependencies: ["CLibSSH", .product(name: "Subprocess", package: "swift-subprocess")]),
    // What Swift cannot call: vfork, prctl.
    .target(name: "CProcesses"),
    .target(
      name: "Launching",
      dependencies: ["CProcesses", "Transports"],
      resources: [
        .embedInCode("Detached/common.sh"), .embedInCode("Detached/agent.sh"), .embedInCode("Slurm/slurm.sh"),
      ]),
    .target(
      name: "Gathering",
      dependencies: [
        "Transports", .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "Logging", package: "swift-log"),
      ]),

    // The numbers: from dump files to findings.
    .systemLibrary(name: "CDeflate", pkgConfig: "libdeflate", providers: [.apt(["libdeflate-dev"])]),
    .systemLibrary(name: "CKernels"),
    .target(name: "TensorLanes"),
    .target(
      name: "TensorKernels",
      dependencies: ["CDeflate", "CKernels", "TensorLanes"] + wideTwins.map { .target(name: $0.name) },
      swiftSettings: [optimised] + hasWideTwins),
    .target(name: "Dumps", dependencies: ["TensorKernels"], swiftSettings: [optimised]),
    .target(name: "Alignment", dependencies: ["Dumps"], swiftSettings: [optimised]),
    .target(
      name: "Comparison", dependencies: ["Alignment", "Dumps", "TensorKernels", "TensorLanes"],
      swiftSettings: [optimised]),
    .target(name: "Diagnosis", dependencies: ["Comparison", "Alignment", "Dumps"], swiftSettings: [optimised]),
    // From the evidence so far to the next runs or a conclusion: pure.
    .target(
      name: "Playbooks",
      dependencies: [
        "Planning", "Diagnosis", "Comparison",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ]),
    .target(
      name: "Reporting",
      dependencies: [
        "Playbooks", "Diagnosis", "Comparison", "Alignment", "Dumps",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ]),
    // Pages and JSON over the ledger. What reaches a host (logs, stopping runs) comes as closures.
    .target(
      name: "Dashboard",
      dependencies: [
        "Ledger", "Reporting", "Comparison", "Planning", "Scheduling",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      resources: [.embedInCode("Assets/live.js"), .embedInCode("Assets/dashboard.css")]),

    // Tests: real sshd, real torch.save, real SQLite. `TestSupport` is theirs alone.
    .target(name: "TestSupport", dependencies: ["Transports"], path: "Tests/Support"),
    .testTarget(
      name: "PlanningTests",
      dependencies: [
        "Planning", "TestSupport", .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "Yams", package: "Yams"),
      ]),
    .testTarget(
      name: "SchedulingTests",
      dependencies: [
        "Scheduling", "Planning", "TestSupport", .product(name: "OrderedCollections", package: "swift-collections"),
      ]),
    .testTarget(
      name: "LedgerTests",
      dependencies: [
        "Ledger", "Planning", "Scheduling", "TestSupport", .product(name: "GRDB", package: "GRDB.swift"),
      ]),
    .testTarget(name: "TransportsTests", dependencies: ["Transports", "TestSupport"]),
    .testTarget(
      name: "LaunchingTests", dependencies: ["Launching", "Transports", "rollcall", "TestSupport"]),
    .testTarget(name: "GatheringTests", dependencies: ["Gathering", "Transports", "TestSupport"]),
    .testTarget(name: "DumpsTests", dependencies: ["Dumps", "TensorKernels", "TestSupport"], exclude: ["Python"]),
    .testTarget(
      name: "TensorKernelsTests", dependencies: ["TensorKernels", "TensorLanes", "TestSupport"],
      swiftSettings: hasWideTwins),
    .testTarget(name: "AlignmentTests", dependencies: ["Alignment", "Dumps", "TestSupport"]),
    .testTarget(name: "ComparisonTests", dependencies: ["Comparison", "Alignment", "Dumps", "TestSupport"]),
    // Diagnosis is tested through the driver, on real dumps.
    .testTarget(
      name: "DiagnosisTests",
      dependencies: ["Coordination", "Diagnosis", "Comparison", "Alignment", "Dumps", "Reporting", "TestSupport"]),
    .testTarget(
      name: "PlaybooksTests",
      dependencies: [
        "Playbooks", "Planning", "Diagnosis", "Comparison", "TestSupport",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ]),
    .testTarget(
      name: "ReportingTests",
      dependencies: [
        "Reporting", "Playbooks", "Planning", "Diagnosis", "Comparison", "Alignment", "Dumps", "TestSupport",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ]),
    .testTarget(
      name: "CoordinationTests",
      dependencies: [
        "Coordination", "Ledger", "Launching", "Gathering", "Planning", "Scheduling", "Transports", "Dumps",
        "Alignment", "Comparison", "Reporting", "TestSupport",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      swiftSettings: [optimised]),
    // Real servers on loopback, real requests, a real browser.
    .testTarget(
      name: "DashboardTests",
      dependencies: [
        "Comparison", "Dashboard", "Ledger", "Planning", "Reporting", "Scheduling", "TestSupport",
        .product(name: "HTTPTypes", package: "swift-http-types"),
      ],
      exclude: ["browser.py"]),
    .testTarget(
      name: "EndToEndTests", dependencies: ["rollcall", "Gathering", "Ledger", "Planning", "TestSupport"]),
    // Mutated input: no crash, no hang, no memory beyond a bound.
    .testTarget(name: "FuzzTests", dependencies: ["Dumps", "Planning", "TestSupport"], exclude: ["Python"]),
  ] + wideTwins
)

// One feature set for every Swift target.
let features: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]
for target in package.targets where target.type != .system {
  target.swiftSettings = (target.swiftSettings ?? []) + features
}
