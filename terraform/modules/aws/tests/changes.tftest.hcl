# A change of what brokers are made from stops none of them: it waits until each
# is replaced, and volumes and addresses outlive that.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name   = "test"
  vpc_id = "vpc-1"
  brokers = {
    "1" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a" }
    "2" = { availability_zone = "eu-central-1b", subnet_id = "subnet-b" }
    "3" = { availability_zone = "eu-central-1c", subnet_id = "subnet-c" }
  }
  ami_id = "ami-00000000000000001"
  binary = { url = "https://example.com/varve-1", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
  bucket = { name = "test-history" }
}

run "start" {
  assert {
    condition     = join(",", output.outdated_brokers) == ""
    error_message = "New brokers are not outdated."
  }
}

run "change" {
  variables {
    ami_id        = "ami-00000000000000002"
    instance_type = "m6i.4xlarge"
    binary        = { url = "https://example.com/varve-2", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
    settings      = { "log.segment.bytes" = "268435456" }
  }

  assert {
    condition     = { for id, b in output.brokers : id => b.instance_id } == { for id, b in run.start.brokers : id => b.instance_id }
    error_message = "An instance was replaced that nobody named."
  }
  assert {
    condition     = alltrue([for i in aws_instance.broker : i.instance_type == "m6i.large" && i.ami == "ami-00000000000000001"])
    error_message = "An instance was changed, for which EC2 stops it."
  }
  assert {
    condition     = alltrue([for id, i in aws_instance.broker : i.user_data_base64 != base64gzip(local.user_data[id])])
    error_message = "The user data of an instance was changed, for which EC2 stops it."
  }
  assert {
    condition     = join(",", output.outdated_brokers) == "1,2,3"
    error_message = "The brokers are behind, and this must be told: ${jsonencode(output.outdated_brokers)}"
  }
}

run "replace_one" {
  plan_options {
    replace = [aws_instance.broker["2"]]
  }
  variables {
    ami_id        = "ami-00000000000000002"
    instance_type = "m6i.4xlarge"
    binary        = { url = "https://example.com/varve-2", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
    settings      = { "log.segment.bytes" = "268435456" }
  }

  assert {
    condition     = join(",", [for id in ["1", "2", "3"] : id if output.brokers[id].instance_id != run.start.brokers[id].instance_id]) == "2"
    error_message = "The broker that was named is replaced, and no other."
  }
  assert {
    condition     = aws_instance.broker["2"].instance_type == "m6i.4xlarge" && aws_instance.broker["2"].ami == "ami-00000000000000002"
    error_message = "The new instance is made from what is configured now."
  }
  assert {
    condition     = output.brokers["2"].volume_id == run.start.brokers["2"].volume_id && output.brokers["2"].network_interface_id == run.start.brokers["2"].network_interface_id
    error_message = "A broker keeps its data and its address."
  }
  assert {
    condition     = aws_volume_attachment.data["2"].instance_id == output.brokers["2"].instance_id
    error_message = "The volume is attached to the new instance."
  }
  assert {
    condition     = join(",", output.outdated_brokers) == "1,3"
    error_message = "The others still wait: ${jsonencode(output.outdated_brokers)}"
  }
}

# A fourth broker changes nothing of the three: the seeds stay.
run "add_one" {
  variables {
    ami_id        = "ami-00000000000000002"
    instance_type = "m6i.4xlarge"
    binary        = { url = "https://example.com/varve-2", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
    settings      = { "log.segment.bytes" = "268435456" }
    brokers = {
      "1" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a" }
      "2" = { availability_zone = "eu-central-1b", subnet_id = "subnet-b" }
      "3" = { availability_zone = "eu-central-1c", subnet_id = "subnet-c" }
      "4" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a" }
    }
  }

  assert {
    condition     = join(",", output.outdated_brokers) == "1,3" && output.settings["2"] == run.replace_one.settings["2"]
    error_message = "A new broker must not make others outdated: ${jsonencode(output.outdated_brokers)}"
  }
  assert {
    condition     = join(",", output.seeds) == "1,2,3" && !can(yamldecode(output.settings["4"]).control)
    error_message = "The fourth broker is no seed."
  }
}

run "move_one" {
  command = plan

  variables {
    brokers = {
      "1" = { availability_zone = "eu-central-1a", subnet_id = "subnet-c" }
      "2" = { availability_zone = "eu-central-1b", subnet_id = "subnet-b" }
      "3" = { availability_zone = "eu-central-1c", subnet_id = "subnet-c" }
      "4" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a" }
    }
  }
  expect_failures = [aws_network_interface.broker]
}

run "renumber_one" {
  command = plan

  variables {
    brokers = {
      "1" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a", private_ip = "10.0.0.99" }
      "2" = { availability_zone = "eu-central-1b", subnet_id = "subnet-b" }
      "3" = { availability_zone = "eu-central-1c", subnet_id = "subnet-c" }
      "4" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a" }
    }
  }
  expect_failures = [aws_network_interface.broker]
}
