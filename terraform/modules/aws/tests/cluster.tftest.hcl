# Three brokers as the module makes them by default.
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan

  mock_resource "aws_security_group" {
    defaults = { id = "sg-test" }
  }
  mock_resource "aws_ebs_volume" {
    defaults = { id = "vol-test" }
  }
}

variables {
  name   = "test"
  vpc_id = "vpc-1"
  brokers = {
    "2"  = { availability_zone = "eu-central-1b", subnet_id = "subnet-b", private_ip = "10.0.2.11" }
    "10" = { availability_zone = "eu-central-1c", subnet_id = "subnet-c", private_ip = "10.0.3.11", rack = "third" }
    "1"  = { availability_zone = "eu-central-1a", subnet_id = "subnet-a", private_ip = "10.0.1.11", instance_type = "m6i.2xlarge" }
  }
  binary     = { url = "s3://releases/varve", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  bucket     = { name = "test-history" }
  clients    = { security_groups = { apps = "sg-apps" }, cidr_blocks = ["10.1.0.0/16"] }
  monitoring = { security_groups = { prometheus = "sg-prometheus" } }
  settings   = { "log.segment.bytes" = "268435456" }
}

override_resource {
  target          = aws_network_interface.broker["1"]
  values          = { private_ip = "10.0.1.11" }
  override_during = plan
}

override_resource {
  target          = aws_network_interface.broker["2"]
  values          = { private_ip = "10.0.2.11" }
  override_during = plan
}

override_resource {
  target          = aws_network_interface.broker["10"]
  values          = { private_ip = "10.0.3.11" }
  override_during = plan
}

override_resource {
  target          = aws_ebs_volume.data["1"]
  values          = { id = "vol-0123abc" }
  override_during = plan
}

run "settings" {
  command = plan

  assert {
    condition     = join(",", output.seeds) == "1,2,10"
    error_message = "Seeds are the first three by number, not by text: ${jsonencode(output.seeds)}"
  }
  assert {
    condition = yamldecode(output.settings["10"]) == {
      node-id      = 10
      cluster      = "test"
      rack         = "third"
      listen       = ["BROKERS://0.0.0.0:9091", "CLIENTS://0.0.0.0:9092"]
      advertise    = ["BROKERS://10.0.3.11:9091", "CLIENTS://10.0.3.11:9092"]
      http         = "0.0.0.0:9644"
      object-store = "s3://test-history?region=eu-central-1&prefix=varve"
      seeds        = ["1=10.0.1.11:9100", "2=10.0.2.11:9100", "10=10.0.3.11:9100"]
      control      = "10.0.3.11:9100"
      set = {
        "inter.broker.listener.name"     = "BROKERS"
        "listener.security.protocol.map" = "BROKERS:PLAINTEXT,CLIENTS:PLAINTEXT"
        "log.segment.bytes"              = "268435456"
        "min.insync.replicas"            = "2"
      }
    }
    error_message = "Settings of broker 10: ${output.settings["10"]}"
  }
  assert {
    condition     = yamldecode(output.settings["1"]).rack == "eu-central-1a"
    error_message = "A rack is the availability zone where nothing else is said."
  }
  assert {
    condition     = output.bootstrap_servers == "10.0.1.11:9092,10.0.2.11:9092,10.0.3.11:9092"
    error_message = output.bootstrap_servers
  }
}

run "instances" {
  command = plan

  assert {
    condition     = { for id, i in aws_instance.broker : id => i.instance_type } == { "1" = "m6i.2xlarge", "2" = "m6i.large", "10" = "m6i.large" }
    error_message = "An instance type of a broker wins over that of all."
  }
  assert {
    condition     = alltrue([for i in aws_instance.broker : i.ami == "ami-00000000000000001"])
    error_message = "The image is the newest Amazon Linux where none is given."
  }
  assert {
    condition     = alltrue([for i in aws_instance.broker : i.metadata_options[0].http_tokens == "required" && i.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "Instance metadata is for IMDSv2 alone."
  }
  assert {
    condition     = alltrue([for i in aws_instance.broker : i.disable_api_termination && i.root_block_device[0].encrypted])
    error_message = "Instances are protected from termination and have encrypted root disks."
  }
  assert {
    condition     = alltrue([for id, i in aws_instance.broker : one(i.network_interface).network_interface_id == aws_network_interface.broker[id].id])
    error_message = "An instance uses the interface of its broker."
  }
  assert {
    condition     = length(base64gzip(local.user_data["1"])) < 21845 # 16 KiB in base 64
    error_message = "User data is larger than EC2 takes."
  }
  assert {
    condition     = { for f in yamldecode(local.user_data["1"]).write_files : f.path => f.permissions if startswith(f.path, "/usr/local/lib/varve/") } == { "/usr/local/lib/varve/install" = "0755", "/usr/local/lib/varve/mount-data" = "0755" }
    error_message = "Without TLS the scripts are two, and can be run."
  }
  assert {
    condition     = strcontains(one([for f in yamldecode(local.user_data["1"]).write_files : f.content if f.path == "/etc/varve/instance.env"]), "DATA_DEVICE='/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123abc'")
    error_message = "An instance looks for the volume of its broker, by its id."
  }
}

run "volumes" {
  command = plan

  assert {
    condition     = { for id, v in aws_ebs_volume.data : id => v.availability_zone } == { "1" = "eu-central-1a", "2" = "eu-central-1b", "10" = "eu-central-1c" }
    error_message = "A volume is in the zone of its broker."
  }
  assert {
    condition     = alltrue([for v in aws_ebs_volume.data : v.encrypted && v.type == "gp3"])
    error_message = "Volumes are gp3 and encrypted."
  }
  assert {
    condition     = alltrue([for a in aws_volume_attachment.data : a.stop_instance_before_detaching]) && length(aws_volume_attachment.data) == 3
    error_message = "An instance is stopped before its volume goes."
  }
}

run "bucket" {
  command = plan

  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.tier[0].rule) == 1 && length(aws_s3_bucket_lifecycle_configuration.tier[0].rule[0].expiration) == 0 && length(aws_s3_bucket_lifecycle_configuration.tier[0].rule[0].transition) == 0
    error_message = "No rule may expire history or move it elsewhere."
  }
  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.tier[0].rule[0].abort_incomplete_multipart_upload[0].days_after_initiation == 1
    error_message = "Uploads that nobody ends are taken away."
  }
  assert {
    condition     = aws_s3_bucket_versioning.tier[0].versioning_configuration[0].status == "Disabled" && !aws_s3_bucket.tier[0].force_destroy
    error_message = "The bucket has no versions, and is not deleted with data in it."
  }
  assert {
    condition     = aws_s3_bucket_public_access_block.tier[0].block_public_acls && aws_s3_bucket_public_access_block.tier[0].block_public_policy && aws_s3_bucket_public_access_block.tier[0].ignore_public_acls && aws_s3_bucket_public_access_block.tier[0].restrict_public_buckets
    error_message = "The bucket is closed to the public."
  }
  assert {
    condition     = one(data.aws_iam_policy_document.bucket.statement).effect == "Deny" && one(one(data.aws_iam_policy_document.bucket.statement).condition).variable == "aws:SecureTransport"
    error_message = "The bucket refuses what comes without TLS."
  }
  assert {
    condition     = length(aws_vpc_endpoint.s3) == 0
    error_message = "An endpoint is made only where route tables are given."
  }
}

run "rights" {
  command = plan

  assert {
    condition = { for s in data.aws_iam_policy_document.broker["1"].statement : s.sid => { actions = s.actions, resources = s.resources } } == {
      Bucket  = { actions = toset(["s3:ListBucket"]), resources = toset(["arn:aws:s3:::test-history"]) }
      Objects = { actions = toset(["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]), resources = toset(["arn:aws:s3:::test-history/varve/*"]) }
      Binary  = { actions = toset(["s3:GetObject"]), resources = toset(["arn:aws:s3:::releases/varve"]) }
    }
    error_message = "A broker may do more, or less, than it needs: ${jsonencode(data.aws_iam_policy_document.broker["1"].statement)}"
  }
}

run "network" {
  command = plan

  assert {
    condition = { for name, r in aws_vpc_security_group_ingress_rule.from : name => [r.from_port, r.to_port] } == {
      "clients-apps"          = [9092, 9092]
      "clients-10.1.0.0/16"   = [9092, 9092]
      "monitoring-prometheus" = [9644, 9644]
    }
    error_message = "Clients reach the Kafka port, monitoring the HTTP port, and nobody anything else."
  }
  assert {
    condition = { for name, r in aws_vpc_security_group_ingress_rule.between : name => [r.from_port, r.to_port, r.referenced_security_group_id] } == {
      kafka   = [9091, 9091, aws_security_group.brokers.id]
      clients = [9092, 9092, aws_security_group.brokers.id]
      control = [9100, 9102, aws_security_group.brokers.id]
    }
    error_message = "Control ports are for brokers alone."
  }
  assert {
    condition     = alltrue([for r in aws_vpc_security_group_ingress_rule.from : r.cidr_ipv4 != "0.0.0.0/0"])
    error_message = "Nothing is open to everybody."
  }
}
